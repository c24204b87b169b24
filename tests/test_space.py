"""Space and Ranks: what ranks mean, and back; spaces in files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsearch.backends import backend
from hwsearch.configuration import Configuration
from hwsearch.errors import SpaceError
from hwsearch.ranks import Layout, Ranks, as_row
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


def ranks(**changes) -> Ranks:
    return Ranks(Space(**changes), LAYOUT, RUNTIMES)


spaces = st.builds(
    Space,
    pruning_ratio=st.sampled_from([(0.0,), (0.0, 0.5), (0.0, 0.25, 0.5, 0.75), (0.9,)]),
    multiple_of=st.sampled_from([(1,), (4,), (1, 4), (8, 2)]),
    saliency=st.sampled_from([("l1",), ("l1", "l2", "random")]),
    schedule=st.sampled_from([("one-shot",), ("agp", "one-shot", "iterative")]),
    sparsity=st.sampled_from([(0.0,), (0.0, 0.5, 0.9), (0.7,)]),
    pattern=st.sampled_from([("any",), ("2:4",), ("any", "2:4"), ("2:4", "any")]),
    clusters=st.sampled_from([(0,), (16,), (0, 16, 32)]),
    qat=st.sampled_from([(False,), (True,), (False, True)]),
    trainer=st.sampled_from([("keras",), ("tfmot", "keras")]),
    weight_bits=st.sampled_from([(8,), (4,), (8, 4), (4, 8)]),
    activation_bits=st.sampled_from([(8,), (8, 16), (16, 8)]),
)


@given(spaces, st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_every_row_decodes_to_what_its_backend_runs(space: Space, seed: int) -> None:
    found = Ranks(space, LAYOUT, RUNTIMES)
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
        again = found.columns([configuration])
        assert found.configurations(again) == [configuration]


@given(spaces, st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_ranks_of_a_leaf_decode_back_to_it(space: Space, seed: int) -> None:
    found = Ranks(space, LAYOUT, RUNTIMES)
    row = found.random(np.random.default_rng(seed), 1)[0]
    configuration = found.configuration(row)
    leaves = found.leaves(configuration)
    assert configuration in leaves
    assert len({leaf.digest for leaf in leaves}) == len(leaves)
    for leaf in leaves:
        assert leaf.structure == configuration.structure
        back = found.ranks(leaf, row.tolist())
        assert all(0 <= r < p.choices for r, p in zip(back, found.parameters, strict=True))
        assert found.configuration(back) == leaf


def test_leaves_lower_the_largest_weights_first() -> None:
    found = ranks()
    leaves = found.leaves(Configuration((16, 24, 5), "l1", "tflm", 8, (8, 8, 8)))
    low = {
        leaf.weight_bits for leaf in leaves if leaf.backend == "tflm" and leaf.activation_bits == 8
    }
    assert low == {(8, 8, 8), (8, 4, 8), (4, 4, 8), (4, 4, 4)}
    assert {leaf.backend for leaf in leaves} == {b.name for b in RUNTIMES}
    assert all(set(leaf.weight_bits) == {8} for leaf in leaves if leaf.activation_bits == 16)


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
    found = Ranks(space, LAYOUT, RUNTIMES)
    for c in found.configurations(found.decode(found.random(np.random.default_rng(seed), 6))):
        assert not (c.qat and c.activation_bits == 16)
        assert c.sparsity == 0.5 or c.pattern == "any" or not c.sparsity
        assert c.sparsity or c.pattern == space.pattern[0]
        assert c.is_elementwise or c.trainer == space.trainer[0]


def test_qat_serves_its_own_bits_alone() -> None:
    found = ranks(qat=(False, True))
    trained = Configuration((16, 24, 5), "l1", "tflm", 8, (8, 8, 8), qat=True)
    leaves = found.leaves(trained)
    assert {leaf.backend for leaf in leaves} == {b.name for b in RUNTIMES}
    assert {leaf.weight_bits for leaf in leaves} == {(8, 8, 8)}
    mixed = replace(trained, weight_bits=(4, 8, 8))
    assert {leaf.backend for leaf in found.leaves(mixed)} <= {"tflm", "tflm-cmsis-nn"}


def test_no_backend() -> None:
    with pytest.raises(SpaceError, match="no backend runs this model"):
        Ranks(Space(), LAYOUT, ())


def test_no_channel_groups_and_no_operators() -> None:
    found = Ranks(Space(), Layout((), ()), RUNTIMES[:1])
    configuration = found.configuration(found.random(np.random.default_rng(0), 1)[0])
    assert configuration.widths == () and configuration.weight_bits == ()
    assert found.configurations(found.columns([configuration])) == [configuration]


@pytest.mark.parametrize(
    "changes",
    [
        {"pruning_ratio": ()}, {"pruning_ratio": (0.5, 0.25)}, {"pruning_ratio": (0.0, 1.0)},
        {"pruning_ratio": (-0.1,)}, {"pruning_ratio": ("a",)}, {"multiple_of": ()},
        {"multiple_of": (0,)}, {"multiple_of": (2.5,)}, {"saliency": ("l3",)}, {"saliency": "l1"},
        {"weight_bits": (2,)}, {"activation_bits": (32,)}, {"activation_bits": ()},
        {"rungs": (8, 4)}, {"rungs": (4, 4)}, {"rungs": (0.5,)}, {"rungs": 4},
        {"epochs": -1}, {"epochs": 1.5}, {"epochs": True}, {"batch_size": 0}, {"samples": -1},
        {"sparsity": (0.5, 0.0)}, {"sparsity": (1.0,)}, {"pattern": ("1:4",)}, {"clusters": (8,)},
        {"clusters": 16}, {"qat": (1,)}, {"qat": True}, {"trainer": ("torch",)},
        {"schedule": ("once",)}, {"schedule": ()}, {"distillation": 1.5}, {"distillation": "on"},
        {"temperature": 0.5},
        {"learning_rate": 0}, {"learning_rate": "fast"}, {"learning_rate": float("nan")},
        {"weight_bits": 8}, {"saliency": ("l1", "l1")}, {"weight_bits": (8, 8)},
    ],
)  # fmt: skip
def test_what_cannot_be_searched(changes) -> None:
    (name,) = changes
    with pytest.raises(SpaceError, match=rf"{name}=.*expected"):
        Space(**changes)


def test_rungs_go_on_from_the_epochs_of_a_trial() -> None:
    assert Space(epochs=2, rungs=[8, 24]).ladder == (2, 8, 24)  # type: ignore[arg-type]
    assert Space(epochs=3).ladder == (3,)
    for epochs in (0, 2, 3):
        with pytest.raises(SpaceError, match=rf"rungs=\(2, 4\) go on from epochs={epochs}"):
            Space(epochs=epochs, rungs=(2, 4))


def test_lists_become_tuples() -> None:
    assert Space(pruning_ratio=[0, 0.5]).pruning_ratio == (0, 0.5)  # type: ignore[arg-type]


# Files


def test_a_space_in_a_file(tmp_path) -> None:
    path = tmp_path / "space.toml"
    path.write_text("pruning_ratio = [0.0, 0.5]\nepochs = 3\n")
    assert Space.load(path) == Space(pruning_ratio=(0.0, 0.5), epochs=3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs = = 3", "cannot read"), ("epoch = 3", "line 1: unknown key 'epoch'"),
        ("epochs = -3", "epochs=-3"), ("weight_bits = 8", "weight_bits=8"),
        ("learning_rate = '1'", "learning_rate='1'"),
        ("[space]\nepochs = 3", "unknown key 'space'"),
    ],
)  # fmt: skip
def test_a_bad_file(tmp_path, text: str, says: str) -> None:
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(SpaceError, match=says):
        Space.load(path)


def test_no_such_file(tmp_path) -> None:
    with pytest.raises(SpaceError, match=r"none\.toml"):
        Space.load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpaceError, match="cannot read"):
        Space.load(tmp_path / "binary.toml")
