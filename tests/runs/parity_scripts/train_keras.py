"""A user's training with Keras, with one thing changed at a time.

python train_keras.py problem.npz sqlite:///runs.db [variant ...]

`train_lightning.py` beside it is the same training in PyTorch. `problem.npz` holds images, labels and initial weights.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

import trackside

VARIANTS = {
    "base": {},
    "again": {},
    # The data
    "batch-size": {"batch_size": 20},
    "data-order": {"order": "reversed"},
    "other-data": {"data": "other"},
    "other-validation": {"validation": "other"},
    "keep-last": {"samples": 152},
    "first-batches": {"max_steps": 6},
    "class-weights": {"class_weight": {0: 1.0, 1: 2.0, 2: 1.0, 3: 1.0}},
    # Where it starts
    "weights": {"weights": "other"},
    "frozen": {"frozen": ("conv1",)},
    "frozen-other": {"frozen": ("bn2",)},
    "frozen-dense": {"frozen": ("fc1",)},
    # What the network computes
    "padding": {"padding": "valid"},
    "dilation": {"dilation": 2},
    "activation": {"activation": "elu"},
    "gelu": {"activation": "gelu"},
    "pooling": {"pooling": "max"},
    "dropout": {"dropout": 0.5},
    "norm-momentum": {"norm_momentum": 0.99},
    "norm-epsilon": {"norm_epsilon": 1e-3},
    "stock-norm": {"stock_norm": True},
    # The loss
    "loss-sum": {"loss": "sum"},
    "loss-own": {"loss": "own"},
    "label-smoothing": {"loss": "smooth"},
    "positive-weight": {"loss": "binary", "positive_weight": 3.0},
    "positive-weight-unsaid": {"loss": "binary function", "positive_weight": 3.0},
    "other-positive-weight-unsaid": {"loss": "binary function", "positive_weight": 5.0},
    # The update
    "learning-rate": {"lr": 0.04},
    "schedule-late": {"boundaries": (3, 7)},
    "momentum": {"momentum": 0.9},
    "clip-norm": {"global_clipnorm": 0.1},
    "clip-variable-norm": {"clipnorm": 0.1},
    "decay": {"decay": 0.01},
    "accumulation": {"accumulate": 2},
    "adam": {"optimizer": "Adam", "lr": 0.005},
    "adam-epsilon": {"optimizer": "Adam", "lr": 0.005, "epsilon": 1e-7},
    "adam-stock": {"optimizer": "stock Adam", "lr": 0.005},
    "adamw": {"optimizer": "Adam", "lr": 0.005, "decay": 0.01},
    "adamw-groups": {"optimizer": "Adam", "lr": 0.005, "decay": 0.01, "decay_only": "weights"},
    # How it is computed
    "float64": {"floatx": "float64"},
    "bf16": {"policy": "mixed_bfloat16"},
}


class UnbiasedBatchNormalization(layers.BatchNormalization):
    """With PyTorch's running variance, which divides by n - 1."""

    running_variance = "unbiased"

    def call(self, inputs, training=None, mask=None):
        before = ops.convert_to_tensor(self.moving_variance)
        outputs = super().call(inputs, training=training, mask=mask)
        if training and self.trainable:
            n = ops.cast(ops.size(inputs) // ops.shape(inputs)[-1], before.dtype)
            kept = self.momentum * before
            self.moving_variance.assign(kept + (self.moving_variance - kept) * n / (n - 1))
        return outputs


class TorchAdam(keras.optimizers.Adam):
    """Adam with epsilon where PyTorch has it."""

    epsilon_kind = "outside"

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        step = ops.cast(self.iterations + 1, variable.dtype)
        self.assign(m, self.beta_1 * m + (1 - self.beta_1) * gradient)
        self.assign(v, self.beta_2 * v + (1 - self.beta_2) * gradient * gradient)
        root = ops.sqrt(v / (1 - self.beta_2**step)) + self.epsilon
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * m / (1 - self.beta_1**step) / root)


def make_model(
    *, padding="same", dilation=1, activation="relu", pooling="mean", dropout=0.0, norm_momentum=0.9,
    norm_epsilon=1e-5, stock_norm=False, float32_output=False,
):  # fmt: skip
    norm = layers.BatchNormalization if stock_norm else UnbiasedBatchNormalization
    how = {"momentum": norm_momentum, "epsilon": norm_epsilon}
    pool = layers.GlobalAveragePooling2D if pooling == "mean" else layers.GlobalMaxPooling2D
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(8, 3, padding=padding, dilation_rate=dilation, name="conv1"),
            norm(**how, name="bn1"),
            layers.Activation(activation),
            layers.ZeroPadding2D(1),
            layers.Conv2D(8, 3, strides=2, name="conv2"),
            norm(**how, name="bn2"),
            layers.Activation(activation),
            pool(),
            layers.Dense(16, activation=activation, name="fc1"),
            layers.Dropout(dropout),
            layers.Dense(4, name="fc2"),
        ]
    )
    if float32_output:
        model.add(layers.Activation("linear", dtype="float32"))
    return model


def copy_weights(model, problem, which):
    def given(name):
        return problem[f"{which}/weights/{name}"]

    for name in ("conv1", "conv2"):
        model.get_layer(name).set_weights([given(f"{name}.weight").transpose(2, 3, 1, 0), given(f"{name}.bias")])
    for name in ("bn1", "bn2"):
        fresh = model.get_layer(name).get_weights()[2:]
        model.get_layer(name).set_weights([given(f"{name}.weight"), given(f"{name}.bias"), *fresh])
    for name in ("fc1", "fc2"):
        model.get_layer(name).set_weights([given(f"{name}.weight").T, given(f"{name}.bias")])


def own_loss(y_true, y_pred):
    picked = ops.sum(ops.one_hot(y_true, 4, dtype=y_pred.dtype) * y_pred, axis=-1)
    return ops.logsumexp(y_pred, axis=-1) - picked


class PositiveWeighted(keras.losses.Loss):
    """Binary cross-entropy of each class, what is of it counting several times."""

    def __init__(self, pos_weight):
        super().__init__()
        self.pos_weight = pos_weight

    def call(self, y_true, y_pred):
        labels = ops.one_hot(y_true, 4, dtype=y_pred.dtype)
        return ops.mean(tf.nn.weighted_cross_entropy_with_logits(labels, y_pred, self.pos_weight), axis=-1)


def make_loss(kind, positive_weight):
    if kind == "binary":
        return PositiveWeighted(positive_weight)
    if kind == "binary function":
        return PositiveWeighted(positive_weight).call
    if kind == "own":
        return own_loss
    if kind == "smooth":
        return lambda y_true, y_pred: keras.losses.categorical_crossentropy(
            ops.one_hot(y_true, 4), y_pred, from_logits=True, label_smoothing=0.1
        )
    reduction = "sum" if kind == "sum" else "sum_over_batch_size"
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)


def make_optimizer(
    *, lr=0.05, boundaries=(2, 6), optimizer="SGD", momentum=0.0, decay=None, decay_only="all", epsilon=1e-8,
    accumulate=None, **clipping,
):  # fmt: skip
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(list(boundaries), [lr, lr / 2, lr / 4])
    how = {"weight_decay": decay, "gradient_accumulation_steps": accumulate, **clipping}
    if optimizer == "SGD":
        return keras.optimizers.SGD(schedule, momentum=momentum, **how)
    made = (
        keras.optimizers.Adam(schedule, **how)
        if optimizer == "stock Adam"
        else TorchAdam(schedule, epsilon=epsilon, **how)
    )
    if decay_only == "weights":
        made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


def split_of(problem, split, which, samples=None):
    return problem[f"{which}/{split}_x"][:samples], problem[f"{which}/{split}_y"][:samples]


NETWORK = ("padding", "dilation", "activation", "pooling", "dropout", "norm_momentum", "norm_epsilon", "stock_norm")


def train(problem, store, name, **how):
    x, y = split_of(problem, "train", how.pop("data", "base"), how.pop("samples", 160))
    validation = split_of(problem, "val", how.pop("validation", "base"))
    if how.pop("order", "given") == "reversed":
        x, y = x[::-1], y[::-1]
    fit = {"batch_size": how.pop("batch_size", 16), "class_weight": how.pop("class_weight", None)}
    weights, frozen = how.pop("weights", "base"), how.pop("frozen", ())
    loss = make_loss(how.pop("loss", "mean"), how.pop("positive_weight", 1.0))
    max_steps = how.pop("max_steps", None)
    keras.config.set_floatx(how.pop("floatx", "float32"))
    policy = how.pop("policy", keras.config.floatx())
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)

    model = make_model(float32_output=policy.startswith("mixed"), **{k: how.pop(k) for k in NETWORK if k in how})
    copy_weights(model, problem, weights)
    for layer in frozen:
        model.get_layer(layer).trainable = False
    model.compile(make_optimizer(**how), loss)
    stop = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(model, "stop_training", batch + 1 == max_steps)
    )
    model.fit(
        x,
        y,
        validation_data=validation,
        validation_batch_size=16,
        shuffle=False,
        verbose=0,
        callbacks=[trackside.KerasTracker(name=f"keras {name}", store=store, system=False), stop],
        **fit,
    )


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    arrays, url, *chosen = sys.argv[1:]
    with np.load(arrays) as file:
        given = dict(file)
    for variant in chosen or VARIANTS:
        train(given, url, variant, **VARIANTS[variant])
