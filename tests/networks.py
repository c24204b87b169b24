"""Small Keras networks of every family that the project promises to prune, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import layers as L

from hwsearch.graph import keras_channels


def cnn() -> keras.Model:
    """Sequential: convolutions, pooling, flatten, dense, dropout."""
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            L.Conv2D(8, 3, activation="relu"),
            L.ZeroPadding2D(1),
            L.Conv2D(12, 3, padding="same", use_bias=False),
            L.BatchNormalization(),
            L.ReLU(),
            L.MaxPooling2D(),
            L.Cropping2D(1),
            L.Flatten(),
            L.Dropout(0.3),
            L.Dense(16, activation="sigmoid"),
            L.Dense(5, activation="softmax"),
        ],
        name="cnn",
    )


def _conv_bn(x, filters: int, size: int = 3, strides: int = 1, relu: bool = True):
    x = L.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    x = L.BatchNormalization()(x)
    return L.ReLU()(x) if relu else x


def resnet8(side: int = 16, width: int = 16) -> keras.Model:
    """The ResNet of MLPerf Tiny: three stages, two of them with a projected shortcut."""
    inputs = keras.Input((side, side, 3))
    x = _conv_bn(inputs, width)
    for stage in range(3):
        strides, filters = (1 if stage == 0 else 2), width << stage
        y = _conv_bn(x, filters, strides=strides)
        y = _conv_bn(y, filters, relu=False)
        if stage:
            x = L.Conv2D(filters, 1, strides=strides, padding="same")(x)
        x = L.ReLU()(L.Add()([x, y]))
    x = L.AveragePooling2D(side // 4)(x)
    x = L.Flatten()(x)
    return keras.Model(inputs, L.Dense(10, activation="softmax")(x), name="resnet8")


def ds_cnn() -> keras.Model:
    """The keyword spotter of MLPerf Tiny, narrower: depthwise and pointwise convolutions."""
    inputs = keras.Input((25, 10, 1))
    x = L.Conv2D(24, (10, 4), strides=2, padding="same")(inputs)
    x = L.Dropout(0.2)(L.ReLU()(L.BatchNormalization()(x)))
    for _ in range(3):
        x = L.DepthwiseConv2D(3, padding="same")(x)
        x = L.ReLU()(L.BatchNormalization()(x))
        x = _conv_bn(x, 24, 1)
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, L.Dense(12, activation="softmax")(x), name="ds_cnn")


def mobilenet_v1() -> keras.Model:
    """MobileNetV1-0.25 of Keras: strided depthwise after padding, 1 x 1 convolution head."""
    return keras.applications.MobileNet(
        (32, 32, 3), alpha=0.25, weights=None, classes=10, classifier_activation=None
    )


def autoencoder() -> keras.Model:
    """The anomaly detector of MLPerf Tiny, narrower: dense, batch normalised, bottleneck of 8."""
    inputs = keras.Input((64,))
    x = inputs
    for units in (32, 32, 8, 32):
        x = L.Activation("relu")(L.BatchNormalization()(L.Dense(units)(x)))
    return keras.Model(inputs, L.Dense(64)(x), name="autoencoder")


def concat() -> keras.Model:
    """Branches side by side, and a sum that splits one convolution's channels between two."""
    inputs = keras.Input((8, 8, 3))
    a = L.Conv2D(6, 3, padding="same", activation="relu")(inputs)
    b = L.Conv2D(10, 1, activation="relu")(inputs)
    c = L.Conv2D(16, 3, padding="same")(inputs)
    x = L.Add()([L.Concatenate()([a, b]), c])
    d = L.Conv2D(5, 3, padding="same")(x)
    x = L.Concatenate()([x, d, L.MaxPooling2D(3, 1, "same")(a)])
    x = L.UpSampling2D()(L.BatchNormalization(scale=False, center=False)(x))
    x = L.Conv2D(7, 3, strides=2)(x)
    return keras.Model(inputs, L.Dense(4)(L.Flatten()(x)), name="concat")


def squeeze_excite() -> keras.Model:
    """Two squeeze-and-excite blocks: the gate comes as [1, 1, C] and as [C] of lower rank."""
    inputs = keras.Input((8, 8, 3))
    x = _conv_bn(inputs, 16)
    gate = L.GlobalAveragePooling2D(keepdims=True)(x)
    gate = L.Conv2D(4, 1, activation="relu")(gate)
    x = L.Multiply()([x, L.Conv2D(16, 1, activation="hard_sigmoid")(gate)])
    x = L.Conv2D(12, 3, activation="swish")(x)
    gate = L.Dense(6, activation="relu")(L.GlobalMaxPooling2D()(x))
    gate = L.Reshape((1, 1, 12))(L.Dense(12, activation="sigmoid")(gate))
    x = L.Flatten()(L.Multiply()([gate, x]))
    return keras.Model(inputs, L.Dense(3)(x), name="squeeze_excite")


def conv1d() -> keras.Model:
    """Series: convolutions of one dimension, plain, separable, depthwise and transposed."""
    inputs = keras.Input((32, 3))
    x = L.Conv1D(8, 5, padding="causal", dilation_rate=2, activation="tanh")(inputs)
    x = L.PReLU(shared_axes=[1])(L.SeparableConv1D(10, 3, depth_multiplier=2)(x))
    x = L.MaxPooling1D(2)(x)
    x = L.DepthwiseConv1D(3, depth_multiplier=2, padding="same")(x)
    x = L.ReLU()(L.BatchNormalization()(x))
    x = L.Conv1D(6, 3, strides=2)(L.ZeroPadding1D(1)(x))
    x = L.Flatten()(L.ELU()(L.Cropping1D(1)(x)))
    return keras.Model(inputs, L.Dense(4, activation="softmax")(x), name="conv1d")


def separable() -> keras.Model:
    """Separable and transposed convolutions, PReLU, a reshape in and out of a dense layer."""
    inputs = keras.Input((16, 16, 1))
    x = L.SeparableConv2D(8, 3, strides=2, depth_multiplier=3, activation="relu")(inputs)
    x = L.PReLU()(L.SeparableConv2D(12, 3)(x))
    x = L.DepthwiseConv2D(3, depth_multiplier=2, activation="relu6")(x)
    x = L.Flatten()(L.Conv2D(6, 1)(x))
    x = L.Reshape((3, 3, 8))(L.Dense(72, activation="relu")(x))
    x = L.Conv2DTranspose(6, 3, strides=2, activation="relu")(x)
    x = L.Conv2DTranspose(2, 3, padding="same", activation="sigmoid")(x)
    return keras.Model(inputs, x, name="separable")


def nested() -> keras.Model:
    """A functional model and a Sequential one as layers, the second called twice; two inputs and
    two outputs of equal shapes; operators of ``keras.ops`` between."""
    core_in = keras.Input((8, 8, 6))
    y = L.Conv2D(10, 3, padding="same", activation="relu", name="conv")(core_in)
    core = keras.Model(core_in, [y, L.Conv2D(6, 1, name="proj")(y)], name="core")
    tail = keras.Sequential(
        [keras.Input((8, 8, 10)), L.Conv2D(9, 3, name="conv"), L.BatchNormalization()], name="tail"
    )
    left, right = keras.Input((8, 8, 3), name="right"), keras.Input((8, 8, 3), name="left")
    conv = L.Conv2D(6, 3, padding="same", name="conv")
    one, two = core(conv(left))
    x = tail(one)
    z = tail(L.Conv2D(10, 1, name="other")(conv(right) + two * 0.5))
    a = L.Dense(4, name="z_first")(L.GlobalAveragePooling2D()(x))
    b = L.Dense(4, name="a_second")(L.GlobalMaxPooling2D()(keras.ops.relu(x - z)))
    return keras.Model([left, right], [a, b], name="nested")


def mobilenet_v2(side: int = 32) -> keras.Model:
    """Inverted residuals, 52 convolutions."""
    return keras.applications.MobileNetV2(
        (side, side, 3), alpha=0.35, weights=None, classes=10, classifier_activation=None
    )


def mobilenet_v3() -> keras.Model:
    """Squeeze-and-excite with hard activations."""
    return keras.applications.MobileNetV3Small(
        (64, 64, 3), weights=None, classes=10, classifier_activation=None
    )


def efficientnet() -> keras.Model:
    """EfficientNetB0: swish, squeeze-and-excite, rescaling and normalisation of the input."""
    return keras.applications.EfficientNetB0(
        input_shape=(64, 64, 3), weights=None, classes=10, classifier_activation=None
    )


def resnet50() -> keras.Model:
    """Bottleneck residuals."""
    return keras.applications.ResNet50(
        input_shape=(64, 64, 3), weights=None, classes=10, classifier_activation=None
    )


def densenet() -> keras.Model:
    """DenseNet121: every layer reads all before it."""
    return keras.applications.DenseNet121(
        input_shape=(64, 64, 3), weights=None, classes=10, classifier_activation=None
    )


SMALL: dict[str, Callable[[], keras.Model]] = {
    f.__name__: f
    for f in (
        cnn, resnet8, ds_cnn, mobilenet_v1, autoencoder, concat, squeeze_excite, conv1d,
        separable, nested,
    )
}  # fmt: skip
LARGE: dict[str, Callable[[], keras.Model]] = {
    f.__name__: f for f in (mobilenet_v2, mobilenet_v3, efficientnet, resnet50, densenet)
}


RANDOM_STEPS = (
    "conv", "grouped", "separable", "depthwise", "normalise", "activate", "pool",
    "add", "multiply", "concat", "gate", "mask",
)  # fmt: skip


def random_network(
    steps: Sequence[tuple[str, int, str | None]], flatten: bool = True
) -> keras.Model:
    """A network of 4 x 4 images whose every step reads what earlier steps made.

    Args:
        steps: (one of :data:`RANDOM_STEPS`, a number that says how wide or which, an activation).
        flatten: whether it ends with Flatten or GlobalAveragePooling2D before the dense layers.
    """
    inputs = keras.Input((4, 4, 3))
    made = [L.Conv2D(6, 3, padding="same", activation="relu")(inputs)]
    for kind, number, activation in steps:
        x, other = made[-1], made[number % len(made)]
        if other.shape[-1] != x.shape[-1] and kind in ("add", "multiply"):
            other = L.Conv2D(x.shape[-1], 1)(other)
        if kind == "conv":
            x = L.Conv2D(number + 2, 3, padding="same", activation=activation)(x)
        elif kind == "grouped":
            groups = 2 if x.shape[-1] % 2 == 0 else 1
            x = L.Conv2D(2 * number + 2, 3, padding="same", groups=groups)(x)
        elif kind == "separable":
            x = L.SeparableConv2D(number + 3, 3, padding="same", depth_multiplier=2)(x)
        elif kind == "depthwise":
            x = L.DepthwiseConv2D(3, padding="same", depth_multiplier=1 + number % 2)(x)
        elif kind == "normalise":
            x = L.BatchNormalization(center=number % 2 == 0, scale=number % 3 > 0)(x)
        elif kind == "activate":
            x = L.Activation(activation)(x) if activation else L.PReLU(shared_axes=[1, 2])(x)
        elif kind == "pool":
            x = L.MaxPooling2D(3, 1, padding="same")(x)
        elif kind == "add":
            x = L.Add()([x, other])
        elif kind == "multiply":
            x = L.Multiply()([x, other])
        elif kind == "concat":
            x = L.Concatenate()([x, other])
        elif kind == "gate":
            gate = L.Dense(number + 2, activation="relu")(L.GlobalAveragePooling2D()(x))
            gate = L.Dense(x.shape[-1], activation="sigmoid")(gate)
            x = L.Multiply()([x, L.Reshape((1, 1, x.shape[-1]))(gate)])
        elif kind == "mask":
            x = L.Multiply()([L.Conv2D(1, 1, activation="sigmoid")(other), x])
        made.append(x)
    x = L.Flatten()(made[-1]) if flatten else L.GlobalAveragePooling2D()(made[-1])
    x = L.Dense(5, activation="relu")(x)
    return keras.Model(inputs, L.Dense(3)(x), name="random")


def randomise(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model with random weights that hide nothing: no zero bias, no neutral normalisation.

    Kernels keep the variance of activations; variances and scales lie around 1, and betas, means
    and biases are as large as the activations, so that a wrongly treated channel shows.
    """
    rng = np.random.default_rng(seed)
    depthwise = {
        id(layer.weights[0])
        for _, layer in keras_channels.layers(model)
        if type(layer).__name__.startswith(("Depthwise", "Separable"))
    }
    for weight in model.weights:
        shape = tuple(weight.shape)
        if weight.name in ("moving_variance", "variance", "gamma"):
            values = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            fan_in = np.prod(shape[: -2 if id(weight) in depthwise else -1])
            values = rng.normal(0, 1.4 / np.sqrt(max(fan_in, 1)), shape)
        else:
            values = rng.normal(0, 0.5, shape)
        weight.assign(values.astype(weight.dtype))
    for _, layer in keras_channels.layers(model):
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return model


def random_inputs(model: keras.Model, batch: int = 2, seed: int = 1) -> list[np.ndarray]:
    """One random array per input of the model, of its dtype; integers under 8."""
    rng = np.random.default_rng(seed)
    return [
        rng.integers(0, 8, (batch, *t.shape[1:])).astype(t.dtype)
        if "int" in t.dtype
        else rng.normal(size=(batch, *t.shape[1:])).astype(t.dtype)
        for t in model.inputs
    ]


def random_keep(groups, seed: int = 0) -> dict[str, np.ndarray]:
    """For every group a random subset of its channels, never empty and mostly not whole."""
    rng = np.random.default_rng(seed)
    return {
        g.name: np.sort(
            rng.choice(g.width, int(rng.integers(1, max(g.width * 3 // 4, 2))), replace=False)
        )
        for g in groups.groups
    }
