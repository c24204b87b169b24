"""Where a call is written: the layer, the network around it, and the text so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hwsearch.codegen.emit import Source
from hwsearch.codegen.layers import Layer, Window
from hwsearch.graph import BITS, Op
from hwsearch.graph.tflite import TfliteModel


@dataclass(frozen=True)
class Site:
    """Where a call is written.

    Attributes:
        model, source: what is compiled, and into what.
        layer: the layer; ``index`` its number.
        at: gives the C expression of a tensor.
        scratch: the C expression of the layer's scratch buffer.
    """

    model: TfliteModel
    source: Source
    layer: Layer
    index: int
    at: Callable[[int], str]
    scratch: str

    @property
    def op(self) -> Op:
        """The operator that the layer computes."""
        return self.model.graph.ops[self.layer.op_index]

    @property
    def bits(self) -> int:
        """Of the activations that the layer reads."""
        return BITS[self.model.graph.tensors[self.layer.inputs[0]].dtype]

    @property
    def suffix(self) -> str:
        """Of the kernels for these activations."""
        return "s16" if self.bits == 16 else "s8"

    def call(self, kernel: str, file: str, arguments: list[str], note: str = "") -> None:
        """Append the statement."""
        made = self.model.graph.tensors[self.layer.output]
        shape = "x".join(str(n) for n in made.shape)
        comment = f"{self.index} {self.op.kind}: {shape} {made.dtype}{', ' + note if note else ''}"
        self.source.call(comment, kernel, file, arguments)


def window_of(site: Site, window: Window) -> str:
    """Define the geometry of a window; gives a pointer to it."""
    top, left = window.padding
    if site.layer.pad_index >= 0:
        amounts = site.model.constant(site.model.graph.ops[site.layer.pad_index].inputs[1])
        top, left = int(amounts[1][0]), int(amounts[2][0])
    return site.source.structure(
        "nn_window_t",
        f"window_{site.index}",
        {
            "in_h": window.image[0], "in_w": window.image[1], "in_c": window.channels_in,
            "out_h": window.made[0], "out_w": window.made[1], "out_c": window.channels_out,
            "kernel_h": window.kernel[0], "kernel_w": window.kernel[1],
            "stride_h": window.stride[0], "stride_w": window.stride[1],
            "dilation_h": window.dilation[0], "dilation_w": window.dilation[1],
            "pad_top": top, "pad_left": left,
        },
        28,
    )  # fmt: skip
