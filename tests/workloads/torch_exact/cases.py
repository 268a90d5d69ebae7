"""The inputs that torch_side.py and keras_side.py both compute on, each in its own process."""

import numpy as np

STEPS = 30
RATE_DROPS_AT = 10  # the learning rate is a tenth from this step on
RATE = 0.1

# name -> constructor arguments of torch.optim.SGD / Adam / AdamW
OPTIMIZERS = {
    "sgd": ("SGD", {}),
    "sgd_momentum": ("SGD", {"momentum": 0.9}),
    "sgd_nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "sgd_decay": ("SGD", {"weight_decay": 0.1}),
    "sgd_everything": ("SGD", {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
    "adam": ("Adam", {}),
    "adam_betas": ("Adam", {"betas": (0.5, 0.9), "eps": 1e-3}),
    "adam_decay": ("Adam", {"weight_decay": 0.1}),
    "adam_amsgrad": ("Adam", {"amsgrad": True}),
    "adamw": ("AdamW", {"weight_decay": 0.1}),
}

_generator = np.random.default_rng(7)
START = _generator.normal(size=(5, 3))
GRADIENTS = _generator.normal(size=(STEPS, 5, 3))
# Around the size of epsilon: there it matters on which side of the bias correction epsilon is added.
SMALL_GRADIENTS = GRADIENTS * 1e-7

# Longer than this for some steps, shorter for others.
CLIPPED_NORM = 4.0

TABLE = _generator.normal(size=(6, 4))
TOKENS = np.array([[1, 1, 3, 1], [2, 1, 3, 3], [0, 0, 0, 0], [5, 4, 4, 1]])  # rows come up several times in a batch

IMAGES = _generator.normal(loc=2.0, scale=3.0, size=(4, 6, 5, 5, 3))  # (batches, B, H, W, C)
ROWS = _generator.normal(loc=-1.0, scale=0.5, size=(4, 6, 3))  # (batches, B, C)
