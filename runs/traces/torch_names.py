"""What a PyTorch operator is for, by its name alone.

Names are compared without `aten::`, underscores, and upper case, so that `aten::native_batch_norm_backward`,
`NativeBatchNormBackward0` and `cudnn_batch_norm` meet in one rule.
"""

from __future__ import annotations

import re
from functools import cache

from .records import Direction, Family

COMPOSITE: frozenset[Family] = frozenset({"attention", "recurrent", "loss", "communication", "normalisation"})
"""Families that an operator gives to all that it calls: an LSTM's matrix products are the LSTM's."""

_Rules = tuple[tuple[Family, re.Pattern[str]], ...]


def _rules(*rules: tuple[Family, str], flags: int = 0) -> _Rules:
    """Families in the order in which their patterns are tried."""
    return tuple((family, re.compile(pattern, flags)) for family, pattern in rules)


_RULES = _rules(
    ("communication", r"nccl|^gloo|c10d|allreduce|allgather|reducescatter|alltoall"),
    ("optimizer", r"^foreach|^fused(adam|adamw|sgd|adagrad)|ampforeach|multitensorapply|ampupdatescale"),
    ("loss", r"loss|crossentropy|kldiv|ctc"),
    ("attention", r"scaleddotproduct|flashattn|flashattention|efficientattention|multihead|fmha|flexattention"),
    ("recurrent", r"^(lstm|gru|rnntanh|rnnrelu)(backward)?\d*$|rnnlayer|cudnnrnn|miopenrnn|(lstm|gru|relu|tanh)cell"),
    ("embedding", r"embedding"),
    ("convolution", r"conv(?!ert|j)"),
    ("normalisation", r"batchnorm|layernorm|groupnorm|instancenorm|rmsnorm|weightnorm|localresponsenorm"),
    ("pooling", r"maxpool|avgpool|adaptivepool|fractionalpool|maxunpool|lppool"),
    (
        "activation",
        r"relu|gelu|silu|sigmoid|tanh|softmax|[sc]elu|^elu|^glu|mish|swish|softplus|softsign|shrink|threshold|dropout",
    ),
    (
        "matmul",
        r"^(mkldnn|scaled|int)?(addmm|b?mm|baddbmm|addbmm|matmul|linear|addmv|mv|v?dot|einsum|bilinear)"
        r"(activation|out|relu)*(backward)?\d*$",
    ),
)

_FUSED = re.compile(r"(?:cpp|(?P<kind>triton_(?:poi|red|per|tem|for)))_fused_?(?P<parts>\w*?)_?\d*$")
_FUSED_RULES = _rules(
    ("loss", r"loss|log_softmax|cross_entropy"),
    ("normalisation", r"batch_norm|layer_norm|group_norm|rms_norm|rsqrt|var_mean"),
    ("pooling", r"max_pool|avg_pool"),
    ("attention", r"scaled_dot|_safe_softmax|masked_fill"),
    ("embedding", r"embedding"),
    ("activation", r"relu|gelu|silu|sigmoid|tanh|softmax|elu|dropout|threshold|mish|softplus"),
    ("convolution", r"convolution"),
    ("matmul", r"addmm|(?<![a-z])b?mm(?![a-z])|linear"),
)

_KERNELS = _rules(
    ("communication", r"nccl|rccl|allreduce"),
    ("optimizer", r"multi_tensor_apply|FusedOptimizer|adam"),
    ("attention", r"flash|fmha|attention"),
    ("normalisation", r"batch_?norm|layer_?norm|bn_(fw|bw)|group_?norm|rms_?norm"),
    ("recurrent", r"lstm|gru|rnn"),
    ("pooling", r"pool"),
    ("convolution", r"conv|wgrad|dgrad|fprop|winograd|implicit_gemm"),
    ("embedding", r"embedding|indexSelect"),
    ("loss", r"nll_loss|cross_entropy"),
    ("activation", r"relu|gelu|softmax|sigmoid|tanh|dropout|silu|threshold"),
    ("matmul", r"gemm|gemv|cutlass|cublas|nvjet|splitK"),
    flags=re.IGNORECASE,
)


@cache
def family_of(name: str) -> Family | None:
    """The family that an operator's or an autograd node's name says, or None where it says none."""
    plain = name.removeprefix("aten::").replace("_", "").lower()
    return next((family for family, rule in _RULES if rule.search(plain)), None)


@cache
def fused(name: str) -> tuple[Family, Direction] | None:
    """What a kernel that torch.compile made is for; None for every other name.

    Such a kernel does the work of several operators, named in its name, and counts as the dearest of them: a
    normalisation before an activation, say. A convolution in the name is the addition of its bias unless the kernel is
    a template.
    Direction is `none` where the name does not tell.
    """
    found = _FUSED.search(name)
    if found is None:
        return None
    parts = found["parts"]
    rules = _FUSED_RULES if found["kind"] != "triton_tem" else _FUSED_RULES[::-1]
    family: Family = next((family for family, rule in rules if rule.search(parts)), "other")
    return family, "backward" if "backward" in parts else "none"


@cache
def family_of_kernel(name: str) -> Family | None:
    """A guess from the name of an accelerator's kernel, for one whose operator is unknown."""
    return next((family for family, rule in _KERNELS if rule.search(name)), None)


_CLASSES = _rules(
    ("loss", r"Loss"),
    ("attention", r"Attention"),
    ("normalisation", r"Norm"),
    ("recurrent", r"LSTM|GRU|RNN"),
    ("embedding", r"Embedding"),
    ("pooling", r"Pool"),
    ("convolution", r"^(Lazy)?Conv"),
    ("matmul", r"Linear|^Bilinear"),
    ("activation", r"ReLU|GELU|GLU|SiLU|Sigmoid|Tanh|ELU|Softmax|Softplus|Mish|swish|Dropout|Softmin|Softsign"),
)


@cache
def family_of_class(name: str) -> Family | None:
    """What a layer of this class is for, where it is for one thing."""
    return next((family for family, rule in _CLASSES if rule.search(name)), None)
