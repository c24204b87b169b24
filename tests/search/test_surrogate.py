"""The surrogate: it guesses a smooth metric, says how sure it is, and knows what has no part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from search.tasks import pricing

from hwsearch.search.surrogate import MOST_POINTS, Features, Surrogate
from hwsearch.space import Space


def drawn(rng: np.random.Generator, n: int) -> Features:
    return Features(np.log2(rng.choice([1, 0.5, 0.25, 0.125], (n, 4))) / 3,
                    rng.integers(0, 2, (n, 3)).astype(float))  # fmt: skip


def truth(points: Features) -> np.ndarray:
    lost = -points.structure @ np.array([0.1, 0.2, 0.3, 0.1])
    return 0.9 - 0.1 * lost**2 - 0.01 * points.recipe @ np.array([1, 0.5, 0.2])


def test_it_beats_the_mean_and_its_intervals_cover() -> None:
    covered, errors, spread = [], [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        seen, new = drawn(rng, 60), drawn(rng, 200)
        told = truth(seen) + rng.normal(0, 0.002, 60)
        mean, deviation = Surrogate.fit(seen, told).predict(new)
        actual = truth(new) + rng.normal(0, 0.002, 200)
        covered.append(np.mean(np.abs(mean - actual) < 1.645 * deviation))
        errors.append(np.sqrt(np.mean((mean - actual) ** 2)))
        spread.append(actual.std())
    assert np.mean(errors) < 0.3 * np.mean(spread)
    assert 0.8 < np.mean(covered) <= 1.0


def test_what_was_scored_is_known_better_than_what_was_not() -> None:
    rng = np.random.default_rng(0)
    seen = drawn(rng, 20)
    surrogate = Surrogate.fit(seen, truth(seen))
    mean, deviation = surrogate.predict(seen)
    assert np.abs(mean - truth(seen)).max() < 0.2 * truth(seen).std()
    far = Features(np.full((1, 4), -2.0), np.zeros((1, 3)))
    assert surrogate.predict(far)[1][0] > deviation.max()


def test_one_point_equal_points_and_very_many() -> None:
    rng = np.random.default_rng(1)
    one = drawn(rng, 1)
    assert np.isfinite(Surrogate.fit(one, np.array([0.5])).predict(one)).all()
    same = one.take([0] * 30)
    assert np.isfinite(Surrogate.fit(same, np.full(30, 0.7)).predict(one)).all()
    many = drawn(rng, 3 * MOST_POINTS)
    surrogate = Surrogate.fit(many, truth(many))
    assert len(surrogate.points) <= MOST_POINTS


def test_a_diverged_training_bends_nothing() -> None:
    rng = np.random.default_rng(2)
    seen, new = drawn(rng, 60), drawn(rng, 100)
    told = truth(seen)
    told[7] = 0.1
    mean, _ = Surrogate.fit(seen, told).predict(new)
    assert np.corrcoef(mean, truth(new))[0, 1] > 0.9


def test_the_runtime_has_no_part() -> None:
    ranks = pricing(Space(activation_bits=(8,))).ranks
    decoded = ranks.decode(ranks.random(np.random.default_rng(0), 50))
    other = replace(decoded, backend=1 - decoded.backend)
    a, b = Features.of(ranks, decoded), Features.of(ranks, other)
    assert (a.structure == b.structure).all() and (a.recipe == b.recipe).all()


def test_the_schedule_and_the_method_have_a_part() -> None:
    space = Space(
        activation_bits=(8,), schedule=("one-shot", "agp"), method=("structured", "differentiable")
    )
    ranks = pricing(space).ranks
    decoded = ranks.decode(ranks.random(np.random.default_rng(0), 50))
    a = Features.of(ranks, decoded)
    for other in ({"schedule": 1 - decoded.schedule}, {"method": 1 - decoded.method}):
        b = Features.of(ranks, replace(decoded, **other))
        assert (a.structure != b.structure).any(axis=1).all()
    b = Features.of(ranks, replace(decoded, schedule=1 - decoded.schedule))
    assert (a.structure != b.structure).any(axis=1).all()
