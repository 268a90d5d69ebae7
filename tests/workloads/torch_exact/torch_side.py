"""What torch computes: python torch_side.py OUTPUT.npz."""

import sys

import cases  # type: ignore[import-not-found]  # beside this script
import numpy as np
import torch

results: dict[str, np.ndarray] = {}

for name, (kind, options) in cases.OPTIMIZERS.items():
    for size, gradients in (("", cases.GRADIENTS), ("_small", cases.SMALL_GRADIENTS)):
        weight = torch.nn.Parameter(torch.from_numpy(cases.START.copy()))
        optimizer = getattr(torch.optim, kind)([weight], lr=cases.RATE, **options)
        path = []
        for step, gradient in enumerate(gradients):
            if step == cases.RATE_DROPS_AT:
                optimizer.param_groups[0]["lr"] = cases.RATE / 10
            weight.grad = torch.from_numpy(gradient)
            optimizer.step()
            path.append(weight.detach().numpy().copy())
        results[name + size] = np.stack(path)

table = torch.nn.Embedding.from_pretrained(torch.from_numpy(cases.TABLE.copy()), freeze=False)
optimizer = torch.optim.Adam(table.parameters(), lr=cases.RATE)
for tokens in cases.TOKENS:
    optimizer.zero_grad()
    table(torch.from_numpy(tokens)).sin().sum().backward()
    optimizer.step()
results["embedding"] = table.weight.detach().numpy()

weights = [torch.nn.Parameter(torch.from_numpy(array.copy())) for array in (cases.START, cases.TABLE)]
optimizer = torch.optim.SGD(weights, lr=cases.RATE)
path, norms = [], []
for step, gradient in enumerate(cases.GRADIENTS):
    optimizer.zero_grad()
    tokens = torch.from_numpy(cases.TOKENS[step % len(cases.TOKENS)])
    ((weights[0] * torch.from_numpy(gradient)).sum() + weights[1][tokens].sin().sum()).backward()
    norms.append(torch.nn.utils.clip_grad_norm_(weights, cases.CLIPPED_NORM).item())
    optimizer.step()
    path.append(np.concatenate([weight.detach().numpy().ravel() for weight in weights]))
results["clipping"] = np.stack(path)
results["clipping_norms"] = np.array(norms)

for name, batches, layer in (
    ("images", cases.IMAGES.transpose(0, 1, 4, 2, 3), torch.nn.BatchNorm2d(3)),
    ("rows", cases.ROWS, torch.nn.BatchNorm1d(3)),
):
    layer.double()
    for index, batch in enumerate(batches[:-1]):
        output = layer(torch.from_numpy(np.ascontiguousarray(batch))).detach().numpy()
        results[f"{name}_train{index}"] = np.moveaxis(output, 1, -1)
    results[f"{name}_mean"] = layer.running_mean.numpy().copy()
    results[f"{name}_variance"] = layer.running_var.numpy().copy()
    layer.eval()
    output = layer(torch.from_numpy(np.ascontiguousarray(batches[-1]))).detach().numpy()
    results[f"{name}_evaluation"] = np.moveaxis(output, 1, -1)

rows = torch.nn.Parameter(torch.from_numpy(cases.ROWS))
activated = torch.nn.LeakyReLU(0.2)(rows)
activated.sum().backward()
results["leaky_relu"] = activated.detach().numpy()
results["leaky_relu_gradient"] = rows.grad.numpy()

np.savez(sys.argv[1], allow_pickle=False, **results)
