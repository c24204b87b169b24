"""Space: what cannot be searched; spaces in files."""

from __future__ import annotations

import pytest

from hwsearch.errors import SpaceError
from hwsearch.space import Space


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
        {"method": ("gates",)}, {"method": "structured"}, {"ratios": ("local",)}, {"ratios": ()},
        {"schedule": ("once",)}, {"schedule": ()}, {"distillation": (1.5,)}, {"distillation": 0.5},
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


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": ("structured", "differentiable"), "drop_blocks": (1, 2)}, "Put 0 among"),
        ({"method": ("differentiable",), "drop_blocks": (1,)}, "Put 0 among"),
        ({"method": ("differentiable",), "drop_blocks": (0, 1)}, r"drop_blocks=\(0, 1\) would"),
        ({"method": ("differentiable",), "sparsity": (0.9,), "clusters": (16,), "qat": (True,)},
         r"sparsity=\(0.9,\), clusters=\(16,\), qat=\(True,\) would never act"),
        ({"method": ("differentiable",), "schedule": ("agp",)}, "schedule="),
        ({"qat": (False, True), "activation_bits": (16,)}, "trains for 8"),
        ({"pattern": ("any", "2:4")}, r"sparsity=\(0.0, 0.5\)"),
        ({"pattern": ("2:4",), "sparsity": (0.9,)}, "one half"),
        ({"pattern": ("2:4",), "sparsity": (0.0, 0.5, 0.9)}, "one half"),
    ],
)  # fmt: skip
def test_choices_that_can_never_act(changes, says: str) -> None:
    with pytest.raises(SpaceError, match=says):
        Space(**changes)


def test_choices_that_act_in_some_trials() -> None:
    both = ("structured", "differentiable")
    Space(method=both, drop_blocks=(0, 1), sparsity=(0.9,), qat=(True,), schedule=("agp",))
    Space(qat=(True,), activation_bits=(8, 16))
    Space(pattern=("2:4",), sparsity=(0.0, 0.5))
    Space(pattern=("any", "2:4"), sparsity=(0.9,))


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
