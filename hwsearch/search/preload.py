"""Imported once by the server that trial processes are forked from: 3 s a child instead of 14."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import cloudpickle  # noqa: F401
import keras  # noqa: F401
import litert_quantizer.quantizer  # noqa: F401
import tensorflow  # noqa: F401

import hwsearch.compress.quantize
import hwsearch.compress.saliency
import hwsearch.compress.structured
import hwsearch.convert
import hwsearch.evaluate  # noqa: F401
