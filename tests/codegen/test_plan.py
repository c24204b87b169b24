"""The packer keeps its rules, and overlap distances are what a step by step account of reads and
writes gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_writer import Network, random_network

from hwsearch.codegen import memory
from hwsearch.codegen.layers import PIXELS, Window, layers
from hwsearch.codegen.overlap import ANYWHERE, distance, exact
from hwsearch.codegen.plan import ALIGNMENT, Buffer, Layout, Overlap, pack
from hwsearch.graph import tflite


def violations(buffers: list[Buffer], overlaps: list[Overlap], layout: Layout) -> list[str]:
    """What a packing gets wrong, byte by byte; empty when it is sound."""
    allowed = {(o.made, o.read): o for o in overlaps}
    placed = zip(layout.offsets, buffers, strict=True)
    used = [set(range(offset, offset + b.size)) for offset, b in placed]
    found = []
    for i, a in enumerate(buffers):
        if (used[i] and max(used[i]) >= layout.size) or layout.offsets[i] % ALIGNMENT:
            found.append(f"buffer {i} at {layout.offsets[i]} leaves the arena or is not aligned")
        for j in range(i):
            b = buffers[j]
            together = range(max(a.first, b.first), min(a.last, b.last) + 1)
            if not together or not used[i] & used[j]:
                continue
            leads = [
                (rule, layout.offsets[read] - layout.offsets[made])
                for made, read in ((i, j), (j, i))
                if (rule := allowed.get((made, read)))
            ]
            if not any(
                lead == rule.distance if rule.exact else lead >= rule.distance
                for rule, lead in leads
            ):
                found.append(f"buffers {j} and {i} overlap")
    return found


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Buffer], list[Overlap]]:
    count = draw(st.integers(1, 14))
    buffers = []
    for _ in range(count):
        first = draw(st.integers(0, 8))
        size = draw(st.integers(1, 400))
        buffers.append(Buffer(size, first, first + draw(st.integers(0, 4))))
    overlaps = [
        Overlap(i, j, draw(st.integers(-100, 400)), draw(st.booleans()))
        for i in range(count)
        for j in range(count)
        if i != j and buffers[i].first == buffers[j].last and buffers[j].first < buffers[i].first
        if draw(st.booleans())
    ]
    overlaps = [Overlap(o.made, o.read, 0 if o.exact else o.distance, o.exact) for o in overlaps]
    return buffers, overlaps


@given(problems())
@settings(max_examples=200, deadline=None)
def test_packing_is_sound_and_no_larger_than_side_by_side(
    problem: tuple[list[Buffer], list[Overlap]],
) -> None:
    buffers, overlaps = problem
    layout = pack(buffers, overlaps)
    assert violations(buffers, overlaps, layout) == []
    assert layout.size <= sum(-(-b.size // ALIGNMENT) * ALIGNMENT for b in buffers)
    assert pack(buffers, overlaps) == layout


def test_an_unsound_packing_is_found() -> None:
    buffers = [Buffer(64, 0, 1), Buffer(64, 1, 2)]
    layout = pack(buffers)
    assert layout.size == 128
    broken = type(layout)((0, 32), 128)
    assert violations(buffers, [], broken) == ["buffers 0 and 1 overlap"]
    assert violations(buffers, [Overlap(0, 1, 32)], broken) == []
    assert violations(buffers, [Overlap(0, 1, 40)], broken) != []


def _clobbers(window: Window, lead: int, pixels: int) -> bool:
    """Whether writing ``lead`` values before the input ever hits a value that a later step
    reads."""
    cells = np.arange(window.image[0] * window.image[1] * window.channels_in).reshape(
        *window.image, window.channels_in
    )
    reads = []
    for oy in range(window.made[0]):
        for ox in range(window.made[1]):
            here: set[int] = set()
            for ky in range(window.kernel[0]):
                for kx in range(window.kernel[1]):
                    y = oy * window.stride[0] - window.padding[0] + ky * window.dilation[0]
                    x = ox * window.stride[1] - window.padding[1] + kx * window.dilation[1]
                    if 0 <= y < window.image[0] and 0 <= x < window.image[1]:
                        here |= set(cells[y, x].tolist())
            reads.append(here)
    for block in range(0, len(reads), pixels):
        later: set[int] = set().union(*reads[block + pixels :])
        begin = block * window.channels_out - lead
        end = min(block + pixels, len(reads)) * window.channels_out - lead
        if later & set(range(begin, end)):
            return True
    return False


@given(
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)), st.integers(1, 5), st.integers(1, 5),
    st.sampled_from(["same", "valid"]), st.integers(1, 2),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_conv_overlap_never_clobbers_what_is_still_read(
    image: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], depth: int,
    channels: int, padding: str, dilation: int,
) -> None:  # fmt: skip
    reach = [(k - 1) * dilation + 1 for k in kernel]
    if padding == "valid" and (reach[0] > image[0] or reach[1] > image[1]):
        return
    net = Network(np.random.default_rng(0))
    x = net.input((1, *image, depth))
    net.conv(x, channels, kernel, stride, padding, (dilation, dilation))
    graph = tflite.read(net.finish()).graph
    (layer,) = layers(graph)
    lead = distance(graph, layer, x)
    assert lead is not None and not exact(layer)
    if layer.kind == "dense":
        assert lead == ANYWHERE
        return
    assert layer.window is not None
    for more in (0, 1, 3, 50):
        if lead != ANYWHERE:
            assert not _clobbers(layer.window, lead + more, PIXELS)


def test_plans_of_random_networks_are_sound() -> None:
    for seed in range(150):
        graph = tflite.read(random_network(np.random.default_rng(seed))).graph
        plan = memory(graph)
        live = max(
            (
                sum(graph.tensors[t].size_bytes for t in {*layer.inputs, layer.output})
                for layer in plan.layers
            ),
            default=0,
        )
        assert plan.arena_bytes >= live / 2 and len(plan.layers) == len(layers(graph))
        assert all(o >= 0 for i, o in enumerate(plan.offsets) if i in graph.inputs + graph.outputs)


def test_depthwise_and_pointwise_run_in_place() -> None:
    net = Network(np.random.default_rng(0))
    x = net.input((1, 20, 20, 16))
    for _ in range(3):
        x = net.conv(net.depthwise(x), 16, (1, 1))
    plan = memory(tflite.read(net.finish()).graph)
    scratch = max(layer.scratch_bytes for layer in plan.layers)
    assert plan.arena_bytes == 20 * 20 * 16 + scratch


def test_order_of_branches_is_chosen() -> None:
    """Two branches from one input: running the one that shrinks first needs less."""
    net = Network(np.random.default_rng(0))
    x = net.input((1, 16, 16, 4))
    wide = net.conv(x, 32, (1, 1))
    small = net.pool(wide, "max", (16, 16), (16, 16))
    narrow = net.pool(x, "max", (16, 16), (16, 16))
    graph = tflite.read(net.finish(small, narrow)).graph
    kinds = [layer.output for layer in memory(graph).layers]
    assert sorted(kinds) == sorted([wide, small, narrow])
    assert memory(graph).arena_bytes <= 16 * 16 * 32 + 16 * 16 * 4 + 256
