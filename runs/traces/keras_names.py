"""What a TensorFlow operator or a Keras layer is for, by its name alone."""

from __future__ import annotations

import re
from functools import cache

from .records import Direction, Family


def _rules(*rules: tuple[Family, str]) -> tuple[tuple[Family, re.Pattern[str]], ...]:
    return tuple((family, re.compile(pattern)) for family, pattern in rules)


_PREFIX = re.compile(r"^_(Mkl)?(Native)?(Fused)?(?=[A-Z])")

_TYPES = _rules(
    ("data", r"^(MultiDevice)?Iterator|Dataset|^Optional(From|Has|Get)"),
    ("communication", r"^Collective|Nccl|AllReduce|AllGather|^CrossReplica|^(Host)?(Send|Recv)$"),
    ("optimizer", r"^(Resource)?(Sparse)?Apply[A-Z]"),
    ("loss", r"CrossEntropy|^L2Loss$|^CTC"),
    ("attention", r"^FlashAttention|^DotProductAttention"),
    ("recurrent", r"^CudnnRNN|^(LSTM|GRU)(Block)?(Cell)?"),
    ("normalisation", r"BatchNorm|LayerNorm|^LRN|InstanceNorm"),
    ("convolution", r"Conv(?!ert)"),
    ("pooling", r"(Max|Avg)Pool"),
    (
        "activation",
        r"^(Relu6?|Elu|Selu|LeakyRelu|Softplus|Softsign|Sigmoid|Tanh|LogSoftmax|Softmax|Gelu|Swish)(Grad)?$",
    ),
    ("matmul", r"MatMul|^Einsum$|^XlaDot"),
)

_CLASSES = _rules(
    ("loss", r"Loss|Crossentropy"),
    ("attention", r"Attention"),
    ("normalisation", r"Norm"),
    ("recurrent", r"LSTM|GRU|RNN|^Bidirectional$"),
    ("embedding", r"Embedding"),
    ("pooling", r"Pool"),
    ("convolution", r"Conv"),
    ("matmul", r"Dense|Linear"),
    ("activation", r"ReLU|ELU|GELU|SiLU|Swish|Mish|Sigmoid|Tanh|Softmax|Softplus|^Activation$|Dropout|GaussianNoise"),
)

# As Keras names layers by itself, and as people name them.
_GUESSES = _rules(
    ("attention", r"attention|attn"),
    ("normalisation", r"norm|^(bn|ln|gn)[_\d]*$"),
    ("recurrent", r"lstm|gru|rnn|bidirectional"),
    ("embedding", r"embed"),
    ("pooling", r"pool"),
    ("convolution", r"conv"),
    ("matmul", r"dense|linear|^fc[_\d]*$|^head$|logits"),
    ("activation", r"relu|elu|gelu|silu|swish|sigmoid|tanh|softmax|activation|dropout"),
)

_XLA = _rules(
    ("convolution", r"convolution"),
    ("matmul", r"^dot|gemm|matmul"),
    ("pooling", r"reduce-window|select-and-scatter"),
    ("communication", r"^(all-reduce|all-gather|reduce-scatter|all-to-all|collective)"),
)

_SCOPES = _rules(
    ("activation", r"^(Relu6?|Elu|Selu|Gelu|LeakyRelu|leaky_re_lu|Softplus|Sigmoid|Tanh|Softmax|Swish|silu)(_\d+)?$"),
    ("normalisation", r"^(batchnorm|moments)(_\d+)?$"),
)  # fmt: skip

_BACKWARD = re.compile(r"Grad(V\d)?$|Backprop|^_?\w*Grad[A-Z]")

COMPOSITE: frozenset[Family] = frozenset(
    {"attention", "normalisation", "recurrent", "embedding", "pooling", "loss", "optimizer"}
)
"""Families that a layer gives to all that it computes: a batch normalisation is ten elementwise operators, and the
matrix products of an LSTM are the LSTM's. In a layer of the others, such as `Dense(activation="relu")`, an operator
speaks for itself."""


@cache
def plain(type: str) -> str:
    """The operator without what oneDNN's rewriting puts before it: `_MklNativeFusedConv2D` is `Conv2D`."""
    return _PREFIX.sub("", type)


def _first(rules: tuple[tuple[Family, re.Pattern[str]], ...], name: str) -> Family | None:
    return next((family for family, rule in rules if rule.search(name)), None)


@cache
def family_of_type(type: str) -> Family | None:
    """The family that an operator's type says, or None where it says none (`Mul`)."""
    return _first(_TYPES, plain(type))


@cache
def family_of_class(name: str) -> Family | None:
    """What a layer of this class is for, where it is for one thing."""
    return _first(_CLASSES, name)


@cache
def family_by_guess(layer: str) -> Family | None:
    """What a layer of unknown class is for, guessed from its own name."""
    return _first(_GUESSES, layer.lower())


@cache
def family_of_opcode(opcode: str) -> Family | None:
    """What an instruction of XLA is for where nothing but its opcode is known."""
    return _first(_XLA, opcode)


@cache
def family_of_scope(path: str) -> Family | None:
    """What a function inside a layer is for, by the scope that Keras opens for it: `up0/Gelu/Erfc`."""
    return next((family for one in path.split("/")[::-1] if (family := _first(_SCOPES, one)) is not None), None)


@cache
def direction_of_type(type: str) -> Direction:
    """`backward` for an operator that only a gradient has; `none` for all others."""
    return "backward" if _BACKWARD.search(plain(type)) else "none"


@cache
def optimizer_scope(name: str) -> str:
    """The scope in which Keras' optimizer of this class runs: `AdamW` in `adam_w`."""
    split = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", split).lower()


OPTIMIZERS = frozenset({
    "adam", "adam_w", "adamax", "nadam", "sgd", "rmsprop", "adagrad", "adadelta", "ftrl", "lion", "adafactor", "lamb",
    "muon", "loss_scale_optimizer", "optimizer",
})  # fmt: skip
"""Scopes of optimizers where the trace does not come with the name of its own."""
