"""Keras AutoML under a microcontroller's budget."""

__version__ = "0.1.0"
