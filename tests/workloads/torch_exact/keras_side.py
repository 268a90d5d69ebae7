"""What the torch-exact pieces and Keras' own compute: python keras_side.py OUTPUT.npz."""

import sys

import cases  # type: ignore[import-not-found]  # beside this script
import keras
import numpy as np
import tensorflow as tf

from trackside.workloads import torch_exact

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
keras.config.set_floatx("float64")
results: dict[str, np.ndarray] = {}


def again(thing):
    """A copy by way of the configuration, as a saved model is loaded."""
    return keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(thing))


def exact(kind, options):
    options = dict(options)
    if kind == "SGD":
        return torch_exact.TorchSGD(cases.RATE, **options)
    beta_1, beta_2 = options.pop("betas", (0.9, 0.999))
    epsilon = options.pop("eps", 1e-8)
    return torch_exact.TorchAdam(
        cases.RATE, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, decoupled=kind == "AdamW", **options
    )


def stock(kind, options):
    options = dict(options)
    beta_1, beta_2 = options.pop("betas", (0.9, 0.999))
    if kind != "SGD":
        options |= {"beta_1": beta_1, "beta_2": beta_2, "epsilon": options.pop("eps", 1e-8)}
    return getattr(keras.optimizers, kind)(cases.RATE, **options)


def descend(optimizer, gradients):
    weight = keras.Variable(cases.START, dtype="float64")
    optimizer.build([weight])
    apply = tf.function(lambda gradient: optimizer.apply([gradient], [weight]))
    path = []
    for step, gradient in enumerate(gradients):
        if step == cases.RATE_DROPS_AT:
            optimizer.learning_rate = cases.RATE / 10
        apply(tf.constant(gradient))
        path.append(weight.numpy())
    return np.stack(path)


for name, (kind, options) in cases.OPTIMIZERS.items():
    for size, gradients in (("", cases.GRADIENTS), ("_small", cases.SMALL_GRADIENTS)):
        results[name + size] = descend(again(exact(kind, options)), gradients)
        results[f"stock_{name}{size}"] = descend(stock(kind, options), gradients)


def embed(optimizer):
    table = tf.Variable(cases.TABLE)
    for tokens in cases.TOKENS:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(tf.gather(table, tokens)))
        gradient = tape.gradient(loss, table)
        assert isinstance(gradient, tf.IndexedSlices)
        optimizer.apply([gradient], [table])
    return table.numpy()


results["embedding"] = embed(torch_exact.TorchAdam(cases.RATE))
results["stock_embedding"] = embed(keras.optimizers.Adam(cases.RATE, epsilon=1e-8))


def clip(optimizer, strategy):
    """Gradients of which each device has an unequal share."""
    with strategy.scope():
        weights = [keras.Variable(array, dtype="float64") for array in (cases.START, cases.TABLE)]
        optimizer = again(optimizer)
        optimizer.build(weights)

    def share(gradient, tokens):
        device = tf.distribute.get_replica_context().replica_id_in_sync_group
        alone = strategy.num_replicas_in_sync == 1
        part = 1.0 if alone else tf.cast(device, tf.float64) * 3.0 - 1.0  # -1 and 2
        with tf.GradientTape() as tape:
            rows = tf.gather(weights[1].value, tokens)
            loss = part * (tf.reduce_sum(weights[0].value * gradient) + tf.reduce_sum(tf.sin(rows)))
        gradients = tape.gradient(loss, [weight.value for weight in weights])
        assert isinstance(gradients[1], tf.IndexedSlices)
        optimizer.apply(gradients, weights)

    update = tf.function(lambda gradient, tokens: strategy.run(share, args=(gradient, tokens)))
    path = []
    for step, gradient in enumerate(cases.GRADIENTS):
        update(tf.constant(gradient), tf.constant(cases.TOKENS[step % len(cases.TOKENS)]))
        path.append(np.concatenate([weight.numpy().ravel() for weight in weights]))
    return np.stack(path)


exact_clipping = torch_exact.TorchSGD(cases.RATE, global_clipnorm=cases.CLIPPED_NORM)
stock_clipping = keras.optimizers.SGD(cases.RATE, global_clipnorm=cases.CLIPPED_NORM)
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())
results["clipping"] = clip(exact_clipping, tf.distribute.get_strategy())
results["clipping_devices"] = clip(exact_clipping, mirrored)
results["stock_clipping"] = clip(stock_clipping, tf.distribute.get_strategy())
results["stock_clipping_devices"] = clip(stock_clipping, mirrored)


def normalise(prefix, layer, batches):
    for index, batch in enumerate(batches[:-1]):
        results[f"{prefix}_train{index}"] = layer(batch, training=True).numpy()
    results[f"{prefix}_mean"] = layer.moving_mean.numpy()
    results[f"{prefix}_variance"] = layer.moving_variance.numpy()
    results[f"{prefix}_evaluation"] = layer(batches[-1], training=False).numpy()
    layer.trainable = False  # frozen: evaluates, even in training
    results[f"{prefix}_frozen"] = layer(batches[-1], training=True).numpy()


for name, batches in (("images", cases.IMAGES), ("rows", cases.ROWS)):
    normalise(name, again(torch_exact.BatchNormalization()), batches)
    normalise(f"stock_{name}", keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5), batches)

for name, slope in (("leaky_relu", torch_exact.LeakyReLU(0.2)), ("stock_leaky_relu", keras.layers.LeakyReLU(0.2))):
    rows = tf.Variable(cases.ROWS)
    with tf.GradientTape() as tape:
        activated = again(slope)(rows)
    results[name] = activated.numpy()
    results[f"{name}_gradient"] = tape.gradient(activated, rows).numpy()

half = torch_exact.BatchNormalization(dtype="mixed_float16")
output = half(tf.constant(cases.IMAGES[0] * 300, tf.float16), training=True)  # squares overflow half precision
results["half"] = output.numpy().astype(np.float64)

masked = keras.Sequential([keras.layers.Masking(), torch_exact.BatchNormalization()])
try:
    masked(np.zeros((2, 3, 4)), training=True)
except ValueError as error:
    results["mask_refused"] = np.array("masks" in str(error))

np.savez(sys.argv[1], allow_pickle=False, **results)
