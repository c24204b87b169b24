"""Ranks: what they mean, and back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsearch.backends import backend
from hwsearch.compress.saliency import ranked_together
from hwsearch.configuration import Configuration
from hwsearch.errors import SpaceError
from hwsearch.layout import Depth, Layout
from hwsearch.ranks import Ranks, as_row
from hwsearch.record import from_json, to_json
from hwsearch.space import Space


@dataclass(frozen=True)
class Plain:
    """A runtime of 8 bits alone."""

    name: str = "plain"
    activation_bits: tuple[int, ...] = (8,)
    weight_bits: dict[str, tuple[int, ...]] = field(default_factory=dict)
    buildable: bool = True


LAYOUT = Layout(
    (("a", 16, 1), ("b", 24, 2), ("c", 5, 4)),
    (("0_conv_2d", "conv_2d", 400), ("3_conv_2d", "conv_2d", 900),
     ("5_fully_connected", "fully_connected", 100)),
)  # fmt: skip
RUNTIMES = (backend("tflm"), backend("tflm-cmsis-nn"), Plain())


METHODS = ("structured", "differentiable")


def ranks(space: Space | None = None, **changes) -> Ranks:
    """With channels that rank like their indexes, whatever measures them."""
    space = space or Space(**changes)
    if "global" not in space.ratios:
        return Ranks(space, LAYOUT, RUNTIMES)
    channels = {name: np.arange(1.0, full + 1) for name, full, _ in LAYOUT.groups}
    table = tuple(tuple(map(int, row)) for row in ranked_together(channels, space.pruning_ratio))
    return Ranks(space, replace(LAYOUT, together=(table,) * len(space.saliency)), RUNTIMES)


def built(choices: dict[str, Any]) -> Space | None:
    """The space, None where one of its choices can never act."""
    try:
        return Space(**choices)
    except SpaceError as error:
        assert "would never act" in str(error) or "there are none" in str(error)
        return None


spaces = (
    st.fixed_dictionaries(
        {
            "pruning_ratio": st.sampled_from([(0.0,), (0.0, 0.5), (0.0, 0.25, 0.5, 0.75), (0.9,)]),
            "multiple_of": st.sampled_from([(1,), (4,), (1, 4), (8, 2)]),
            "saliency": st.sampled_from([("l1",), ("l1", "l2", "random")]),
            "schedule": st.sampled_from([("one-shot",), ("agp", "one-shot", "iterative")]),
            "method": st.sampled_from(
                [("structured",), ("differentiable",), ("structured", "differentiable")]
            ),
            "ratios": st.sampled_from([("per-group",), ("global",), ("per-group", "global")]),
            "sparsity": st.sampled_from([(0.0,), (0.0, 0.5, 0.9), (0.7,)]),
            "pattern": st.sampled_from([("any",), ("2:4",), ("any", "2:4"), ("2:4", "any")]),
            "clusters": st.sampled_from([(0,), (16,), (0, 16, 32)]),
            "qat": st.sampled_from([(False,), (True,), (False, True)]),
            "trainer": st.sampled_from([("keras",), ("tfmot", "keras")]),
            "distillation": st.sampled_from([(0.5,), (0.5, 0.0), (0.0, 0.25, 1.0)]),
            "weight_bits": st.sampled_from([(8,), (4,), (8, 4), (4, 8)]),
            "activation_bits": st.sampled_from([(8,), (8, 16), (16, 8)]),
        }
    )
    .map(built)
    .filter(lambda space: space is not None)
)


@given(spaces, st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_every_row_decodes_to_what_its_backend_runs(space: Space, seed: int) -> None:
    found = ranks(space)
    rows = found.random(np.random.default_rng(seed), 6)
    decoded = found.decode(rows)
    for row, configuration in zip(rows, found.configurations(decoded), strict=True):
        assert found.configuration(row) == configuration
        runtime = next(b for b in RUNTIMES if b.name == configuration.backend)
        assert configuration.activation_bits in runtime.activation_bits
        for bits, (_, kind, _) in zip(configuration.weight_bits, LAYOUT.ops, strict=True):
            assert bits in runtime.weight_bits.get(kind, (8,))
            assert bits == 8 or configuration.activation_bits == 8
        for width, (_, full, least) in zip(configuration.widths, LAYOUT.groups, strict=True):
            assert least <= width <= full
        if configuration.method == "differentiable":
            assert (configuration.saliency, configuration.schedule) == (
                space.saliency[0], space.schedule[0]
            )  # fmt: skip
        again = found.columns([configuration])
        assert found.configurations(again) == [configuration]


@given(spaces, st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_ranks_of_a_leaf_decode_back_to_it(space: Space, seed: int) -> None:
    found = ranks(space)
    row = found.random(np.random.default_rng(seed), 1)[0]
    configuration = found.configuration(row)
    leaves = found.leaves(configuration)
    assert configuration in leaves
    assert len({leaf.digest for leaf in leaves}) == len(leaves)
    for leaf in leaves:
        assert leaf.structure == configuration.structure
        back = found.ranks(leaf, row.tolist())
        assert all(0 <= r < p.choices for r, p in zip(back, found.parameters, strict=True))
        if leaf.method == "structured":
            assert found.configuration(back) == leaf
        else:  # alone it would be a training of its own, for what its own bits cost
            again = found.configuration(back)
            assert replace(leaf, asked=None) == again
            assert (again.structure == leaf.structure) == (leaf.digest == configuration.digest)


def test_leaves_lower_the_largest_weights_first() -> None:
    found = ranks()
    leaves = found.leaves(Configuration((16, 24, 5), "l1", "tflm", 8, (8, 8, 8)))
    low = {
        leaf.weight_bits for leaf in leaves if leaf.backend == "tflm" and leaf.activation_bits == 8
    }
    assert low == {(8, 8, 8), (8, 4, 8), (4, 4, 8), (4, 4, 4)}
    assert {leaf.backend for leaf in leaves} == {b.name for b in RUNTIMES}
    assert all(set(leaf.weight_bits) == {8} for leaf in leaves if leaf.activation_bits == 16)


def test_widths_by_hand() -> None:
    found = ranks(pruning_ratio=(0.0, 0.5, 0.875), multiple_of=(4,))
    rows = np.zeros((3, len(found.parameters)), np.int64)
    rows[1, :3], rows[2, :3] = 1, 2
    # 16 -> 8 -> 2 -> 4; 24 -> 12 -> 3 -> 4; 5 -> 2.5 -> 4 (a step at least)
    assert found.decode(rows).widths.tolist() == [[16, 24, 5], [8, 12, 4], [4, 4, 4]]


def test_names_round_trip() -> None:
    found = ranks()
    row = found.random(np.random.default_rng(3), 1)[0]
    names = found.names(row)
    assert list(names)[:3] == ["prune/a", "prune/b", "prune/c"]
    assert as_row(names, found.parameters) == row.tolist()
    assert as_row({}, found.parameters) == [0] * len(row)


def test_pruned_draws_spread_over_sizes() -> None:
    """Independent ratios average to one size; a common level reaches both ends."""
    found = ranks()
    rng = np.random.default_rng(0)
    spread = found.decode(found.pruned(rng, 2000)).widths.sum(axis=1)
    plain = found.decode(found.random(rng, 2000)).widths.sum(axis=1)
    assert spread.std() > plain.std()
    drawn = found.pruned(rng, 2000)
    assert drawn.min() >= 0
    assert (drawn < [p.choices for p in found.parameters]).all()


def test_structure_is_what_has_to_be_trained() -> None:
    one = Configuration((8, 8, 4), "l1", "tflm", 8, (8, 8, 8))
    other = Configuration((8, 8, 4), "l1", "plain", 8, (4, 8, 8))
    assert one.structure == other.structure and one.digest != other.digest
    assert one.structure != Configuration((8, 8, 4), "l2", "tflm", 8, (8, 8, 8)).structure
    assert one.structure != replace(one, schedule="agp").structure
    assert str(other) == "plain a8 w8/w4×1 widths 8-8-4"
    sparse = replace(one, sparsity=0.5, pattern="2:4")
    assert len({c.structure for c in (one, sparse, replace(sparse, pattern="any"))}) == 3
    assert sparse.structure == replace(sparse, weight_bits=(4, 8, 8)).structure
    trained = replace(sparse, qat=True)
    assert trained.structure != replace(trained, weight_bits=(4, 8, 8)).structure
    assert trained.structure == replace(trained, backend="plain").structure
    assert trained.plain == sparse
    assert str(replace(trained, clusters=16, trainer="tfmot")) == (
        "tflm a8 w8 widths 8-8-4 50% zeros 2:4 16 values QAT by tfmot"
    )


@given(spaces, st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_choices_that_make_no_difference_are_the_same(space: Space, seed: int) -> None:
    found = ranks(space)
    for c in found.configurations(found.decode(found.random(np.random.default_rng(seed), 6))):
        assert not (c.qat and c.activation_bits == 16)
        assert c.sparsity == 0.5 or c.pattern == "any" or not c.sparsity
        assert c.sparsity or c.pattern == space.pattern[0]
        assert c.is_elementwise or c.trainer == "keras"


def test_qat_serves_its_own_bits_alone() -> None:
    found = ranks(qat=(False, True))
    trained = Configuration((16, 24, 5), "l1", "tflm", 8, (8, 8, 8), qat=True)
    leaves = found.leaves(trained)
    assert {leaf.backend for leaf in leaves} == {b.name for b in RUNTIMES}
    assert {leaf.weight_bits for leaf in leaves} == {(8, 8, 8)}
    mixed = replace(trained, weight_bits=(4, 8, 8))
    assert {leaf.backend for leaf in found.leaves(mixed)} <= {"tflm", "tflm-cmsis-nn"}


def test_the_least_sensitive_are_lowered_first() -> None:
    """Error a weight: 0.1 / 400, 0.45 / 900, 0.11 / 100."""
    layout = replace(LAYOUT, sensitivity=(0.1, 0.45, 0.11))
    assert layout.lowered_first.tolist() == [0, 1, 2]
    assert LAYOUT.lowered_first.tolist() == [1, 0, 2]
    found = Ranks(Space(), layout, RUNTIMES)
    leaves = found.leaves(Configuration((16, 24, 5), "l1", "tflm", 8, (8, 8, 8)))
    low = {x.weight_bits for x in leaves if x.backend == "tflm" and x.activation_bits == 8}
    assert low == {(8, 8, 8), (4, 8, 8), (4, 4, 8), (4, 4, 4)}
    drawn = found.decode(found.pruned(np.random.default_rng(0), 500))
    rows = (drawn.backend == 0) & (drawn.activation_bits == 8)
    assert {tuple(map(int, b)) for b in drawn.weight_bits[rows]} == low


def test_no_backend() -> None:
    with pytest.raises(SpaceError, match="no backend runs this model"):
        Ranks(Space(), LAYOUT, ())


def test_no_channel_groups_and_no_operators() -> None:
    found = Ranks(Space(), Layout((), ()), RUNTIMES[:1])
    configuration = found.configuration(found.random(np.random.default_rng(0), 1)[0])
    assert configuration.widths == () and configuration.weight_bits == ()
    assert found.configurations(found.columns([configuration])) == [configuration]


def test_one_ratio_ranks_all_channels_together() -> None:
    found = ranks(ratios=("per-group", "global"), pruning_ratio=(0.0, 0.5), multiple_of=(1,))
    rows = np.zeros((4, len(found.parameters)), np.int64)
    place = {p.name: i for i, p in enumerate(found.parameters)}
    rows[:, place["prune"]] = [0, 1, 0, 1]
    rows[:, place["ratios"]] = [0, 0, 1, 1]
    # Channels weigh 1 … 16, 1 … 24, 1 … 5. Of 45 the 22 lightest go: those of 1 to 5 of all
    # groups, of 6 to 8 of two, and one of 9. The third group keeps its least width.
    widths = found.decode(rows).widths
    assert widths[:3].tolist() == [[16, 24, 5]] * 3, "ratio 0, or a ratio that has no part"
    assert widths[3].tolist() == [7, 16, 4]
    alone = ranks(ratios=("global",))
    assert [p.choices for p in alone.parameters[:3]] == [1, 1, 1]
    assert alone.parameters[-1].choices == len(alone.space.pruning_ratio)


def test_narrowest_prunes_by_whichever_ratio() -> None:
    for ratios in (("per-group",), ("global",), ("per-group", "global")):
        found = ranks(ratios=ratios, pruning_ratio=(0.0, 0.9), multiple_of=(1,))
        rows = found.random(np.random.default_rng(0), 30)
        narrow = found.decode(found.narrowest(rows)).widths
        assert (narrow <= found.decode(rows).widths).all()
        assert (narrow.sum(axis=1) <= 12).all()


def test_only_what_tfmot_trained_is_by_tfmot() -> None:
    found = ranks(trainer=("tfmot",), sparsity=(0.0, 0.5))
    place = [p.name for p in found.parameters].index("sparsity")
    row = np.zeros(len(found.parameters), np.int64)
    plain = found.configuration(row)
    row[place] = 1
    sparse = found.configuration(row)
    assert (plain.trainer, sparse.trainer) == ("keras", "tfmot")
    assert "tfmot" not in str(plain) and "by tfmot" in str(sparse)
    assert found.configurations(found.columns([plain, sparse])) == [plain, sparse]


def test_each_weight_of_distillation_is_a_training_of_its_own() -> None:
    found = ranks(distillation=(0.5, 0.0))
    place = [p.name for p in found.parameters].index("distillation")
    row = np.zeros(len(found.parameters), np.int64)
    taught = found.configuration(row)
    row[place] = 1
    alone = found.configuration(row)
    assert (taught.distillation, alone.distillation) == (0.5, 0.0)
    assert taught.structure != alone.structure and str(alone).endswith("by labels alone")
    assert all(leaf.distillation == 0.0 for leaf in found.leaves(alone))


def test_what_gates_find_is_the_leaf_that_was_asked_for() -> None:
    found = ranks(method=("structured", "differentiable"), distillation=(0.0, 0.5))
    row = [p.choices - 1 for p in found.parameters]
    asked = found.configuration(row)
    assert asked.method == "differentiable" and str(asked).endswith("differentiable")
    came = asked.found((8, 4, 5))
    assert came.digest == asked.digest and came.structure == asked.structure
    assert came.widths == (8, 4, 5) and came.asked == asked
    again = from_json(Configuration, to_json(came))
    assert again == came and again.digest == asked.digest
    for leaf in found.leaves(asked):
        assert leaf.found((8, 4, 5)).structure == asked.structure
        same = leaf == asked
        assert (leaf.asked is None) == same and (leaf.digest == asked.digest) == same
    assert replace(asked, method="structured").structure != asked.structure
    assert replace(asked, activation_bits=16).structure != asked.structure, "costs set the gates"


def test_gates_keep_all_blocks() -> None:
    """They are trained on the whole network, so its costs are those of the whole."""
    every = Depth((), (0, 1, 2), ("a", "b", "c"), (0, 1, 2), (0, 3, 5))
    fewer = Depth(("sum",), (0, 2), ("a", "c"), (0, 2), (0, 4))
    space = Space(method=METHODS, drop_blocks=(0, 1))
    found = Ranks(space, replace(LAYOUT, depths=(every, fewer)), RUNTIMES)
    rows = found.random(np.random.default_rng(0), 60)
    made = found.configurations(found.decode(rows))
    assert {c.dropped for c in made if c.method == "structured"} == {(), ("sum",)}
    assert {c.dropped for c in made if c.method == "differentiable"} == {()}
