"""Data: every form a user may bring, and what is said of a form that does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from hwsearch.data import Port, Samples, generated, samples, spaced
from hwsearch.errors import DataError

IMAGE, CLASSES = Port("image", (4, 4, 1)), Port("classes", (3,))
LEFT, RIGHT = Port("left", (5,)), Port("right", (2, 2))
X = np.arange(6 * 16, dtype=np.float32).reshape(6, 4, 4, 1)
Y = np.arange(6) % 3


def image(data, what: str = "data") -> Samples:
    return samples(data, [IMAGE], [CLASSES], what)


def test_arrays() -> None:
    for data in (
        (X, Y),
        [X, Y],
        ((X,), (Y,)),
        ({"image": X}, {"classes": Y}),
        (X.tolist(), list(Y)),
    ):
        found = image(data)
        assert np.array_equal(found.inputs[0], X) and np.array_equal(found.targets[0], Y)
        assert found.inputs[0].dtype == np.float32 and len(found) == 6


def test_spaced_samples_show_the_whole_of_sorted_data() -> None:
    classes = np.repeat(np.arange(10), 37)
    some = spaced(classes, 20)
    assert len(some) == 20 and set(some) == set(range(10))
    assert spaced(classes, 1000).tolist() == classes.tolist()
    assert spaced(classes, 1).tolist() == [0] and len(spaced(classes[:0], 5)) == 0


def test_inputs_alone() -> None:
    for data in (X, {"image": X}):
        found = image(data)
        assert np.array_equal(found.inputs[0], X) and found.targets == ()


def test_a_missing_channel_axis_and_integers() -> None:
    found = image((X[..., 0].astype(np.uint8), Y))
    assert found.inputs[0].shape == X.shape and found.inputs[0].dtype == np.float32


def test_several_inputs_and_outputs() -> None:
    left, right = np.ones((6, 5)), np.zeros((6, 2, 2))
    first, second = np.arange(6), np.arange(6) * 2
    outputs = [Port("first", (1,)), Port("second", (1,))]
    for x in ((left, right), [left, right], {"right": right, "left": left}):
        for y in ((first, second), {"second": second, "first": first}):
            found = samples((x, y), [LEFT, RIGHT], outputs, "data")
            assert found.inputs[0].shape == (6, 5) and found.inputs[1].shape == (6, 2, 2)
            assert found.targets[1].tolist() == second.tolist()
    both = samples((left, right), [LEFT, RIGHT], outputs, "data")  # two inputs, no targets
    assert len(both.inputs) == 2 and both.targets == ()


@pytest.mark.parametrize("batch", [None, 1, 4, 6])
def test_tf_data(batch: int | None) -> None:
    import tensorflow as tf

    for value in ((X, Y), ({"image": X}, {"classes": Y})):
        dataset = tf.data.Dataset.from_tensor_slices(value)
        found = image(dataset if batch is None else dataset.batch(batch))
        where = [int(np.flatnonzero((X == x).all(axis=(1, 2, 3)))[0]) for x in found.inputs[0]]
        assert sorted(where) == list(range(len(X))), "every sample is there once"
        assert found.targets[0].tolist() == Y[where].tolist(), "with its own target"
    alone = tf.data.Dataset.from_tensor_slices(X)
    assert len(image(alone if batch is None else alone.batch(batch))) == len(X)


def test_tf_data_that_shuffles_is_the_same_data_again() -> None:
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(6)
    assert len({image(dataset).digest for _ in range(4)}) == 1


def test_tf_data_without_a_channel_axis() -> None:
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((X[..., 0], Y))
    assert image(dataset).inputs[0].shape == X.shape
    assert image(dataset.batch(4)).inputs[0].shape == X.shape


def test_tf_data_of_two_inputs() -> None:
    import tensorflow as tf

    x = {"left": np.ones((6, 5)), "right": np.zeros((6, 2, 2))}
    dataset = tf.data.Dataset.from_tensor_slices((x, Y))
    for given in (dataset, dataset.batch(4)):
        found = samples(given, [LEFT, RIGHT], [CLASSES], "data")
        assert found.inputs[1].shape == (6, 2, 2) and found.targets[0].tolist() == Y.tolist()


def test_tf_data_endless_or_empty() -> None:
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((X, Y))
    with pytest.raises(DataError, match=r"endless.*\.take\(n\)"):
        image(dataset.repeat())
    with pytest.raises(DataError, match="empty"):
        image(dataset.take(0))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ((X[:, :3], Y), r"validation_data's inputs 'image' have shape \(6, 3, 4, 1\), expected"),
        ((X[:, :3], Y), r"expected \(samples, 4, 4, 1\)"),
        ((X, Y[:5]), r"arrays of \[5, 6\] samples, expected the same number"),
        ((X[:0], Y[:0]), "at least 1"),
        (({"img": X}, Y), r"are named \['img'\], expected \['image'\]"),
        ((np.array(["a", "b"]), Y), "expected numbers"),
        ((np.array([X[0], None], dtype=object), Y), "expected numbers"),
        ((np.full_like(X, np.nan), Y), "NaN or infinity"),
        (7, r"is a int, expected \(x, y\)"), ("file.csv", "is a str"), (None, "is a NoneType"),
        (((X, X), Y), "expected"), ((np.float32(3), Y), "one number"),
        ([[1, 2], [3]], "expected"), ((X, 3), "one number"), (([[1, 2], [3]], Y), "not one array"),
    ],
)  # fmt: skip
def test_what_does_not_fit(data, says: str) -> None:
    with pytest.raises(DataError, match=says):
        image(data, "validation_data")


def test_nan_is_found_wherever_it_is() -> None:
    many = np.zeros((3000, 4, 4, 1), np.float32)
    many[2999, 0, 0, 0] = np.inf
    with pytest.raises(DataError, match="NaN or infinity"):
        image((many, np.zeros(3000, int)))


def test_nan_targets() -> None:
    with pytest.raises(DataError, match=r"targets 'classes' hold NaN"):
        image((X, np.array([0, 1, 2, np.nan, 1, 0])))


# Samples


def test_split_is_in_two_and_seeded() -> None:
    data = Samples((np.arange(101)[:, None],), (np.arange(101),))
    one, other = data.split(3)
    assert len(one) == 50 and len(other) == 51
    together = np.concatenate([one.targets[0], other.targets[0]])
    assert sorted(together.tolist()) == list(range(101))
    assert np.array_equal(one.inputs[0][:, 0], one.targets[0])
    assert np.array_equal(data.split(3)[0].targets[0], one.targets[0])
    assert not np.array_equal(data.split(4)[0].targets[0], one.targets[0])


def test_saved_samples_are_the_same(tmp_path) -> None:
    data = Samples((X, X[..., 0]), (Y,))
    data.save(tmp_path / "folder")
    found = Samples.load(tmp_path / "folder")
    assert all(np.array_equal(a, b) for a, b in zip(data.inputs, found.inputs, strict=True))
    assert np.array_equal(found.targets[0], Y) and found.digest == data.digest
    assert isinstance(found.inputs[0], np.memmap)


def test_digest_sees_shape_dtype_and_values() -> None:
    digests = {
        Samples((x,), (y,)).digest
        for x, y in (
            (X, Y),
            (X + 1, Y),
            (X.astype(np.float64), Y),
            (X[..., 0], Y),
            (X, Y + 1),
            (X[:5], Y[:5]),
        )
    }
    assert len(digests) == 6


def test_generated_inputs_are_smooth_standard_and_seeded() -> None:
    port = Port("image", (32, 32, 3))
    data = generated([port, LEFT], 64, 0)
    x = data.inputs[0]
    assert x.shape == (64, 32, 32, 3) and x.dtype == np.float32 and data.targets == ()
    assert abs(x.mean()) < 0.1 and x.std() == pytest.approx(1, abs=0.05)
    assert np.corrcoef(x[:, 1:].ravel(), x[:, :-1].ravel())[0, 1] > 0.5
    assert data.inputs[1].std() == pytest.approx(1, abs=0.15)
    assert np.array_equal(generated([port, LEFT], 64, 0).inputs[0], x)
    assert not np.array_equal(generated([port, LEFT], 64, 1).inputs[0], x)
