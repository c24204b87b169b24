"""The networks of the compression benchmark, not trained."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers as L


def lenet5() -> keras.Model:
    """LeCun et al. 1998, with ReLU and max pooling: 61,706 parameters at 28 × 28."""
    return _classifier(
        "lenet5",
        L.Conv2D(6, 5, padding="same", activation="relu"),
        L.MaxPooling2D(),
        L.Conv2D(16, 5, activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(120, activation="relu"),
        L.Dense(84, activation="relu"),
    )


def lenet_large() -> keras.Model:
    """The variant of 1.2 million parameters (Keras' MNIST example: 1,199,882)."""
    return _classifier(
        "lenet_large",
        L.Conv2D(32, 3, activation="relu"),
        L.Conv2D(64, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Dropout(0.25),
        L.Flatten(),
        L.Dense(128, activation="relu"),
        L.Dropout(0.5),
    )


def vgg() -> keras.Model:
    """Pairs of 3 × 3 convolutions between poolings and two dense layers of 512, as VGG has them
    (Simonyan and Zisserman 2015): 17 M multiply-accumulates, 872,930 parameters."""
    layers: list[keras.Layer] = []
    for width in (24, 48, 96):
        for _ in range(2):
            layers += _convolution(width)
        layers += [L.MaxPooling2D(), L.Dropout(0.2)]
    head = [L.Flatten(), L.Dense(512, activation="relu"), L.Dropout(0.5)]
    return _classifier("vgg", *layers, *head, L.Dense(512, activation="relu"), L.Dropout(0.5))


def resnet8() -> keras.Model:
    """MLPerf Tiny's ResNet of three stages, at 28 × 28 × 1."""
    inputs = keras.Input((28, 28, 1))
    x = _applied(_convolution(16), inputs)
    for stage, width in enumerate((16, 32, 64)):
        strides = 2 if stage else 1
        y = _applied([*_convolution(width, strides), *_convolution(width)[:2]], x)
        if stage:
            x = L.Conv2D(width, 1, strides=strides, padding="same")(x)
        x = L.ReLU()(L.Add()([x, y]))
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, L.Dense(10, activation="softmax")(x), name="resnet8")


def _convolution(width: int, strides: int = 1) -> list[keras.Layer]:
    convolution = L.Conv2D(width, 3, strides=strides, padding="same", use_bias=False)
    return [convolution, L.BatchNormalization(), L.ReLU()]


def _applied(layers: list[keras.Layer], x: Any) -> Any:
    for layer in layers:
        x = layer(x)
    return x


def _classifier(name: str, *layers: keras.Layer) -> keras.Model:
    head = L.Dense(10, activation="softmax")
    return keras.Sequential([keras.Input((28, 28, 1)), *layers, head], name=name)
