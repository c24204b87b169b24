"""The committed coefficients are what the published data give, and as good as claimed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from architectures import PUBLISHED, needs_published
from threadpoolctl import threadpool_limits

from hwsearch import calibrate
from hwsearch.cost.coefficients import shipped
from hwsearch.cost.priors import TREES, XCUBE
from hwsearch.cost.published import Observation, observations


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Matrices of a few hundred rows: on a busy machine threads cost ten times what they save."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def rows():
    return observations(PUBLISHED)


@needs_published
def test_the_committed_file_is_what_the_folder_gives():
    again, committed = calibrate.fit(PUBLISHED), shipped()
    assert set(again.by_name) == set(committed.by_name)
    for name, known in committed.by_name.items():
        found = again.by_name[name]
        assert (found.boards, found.rows, found.date) == (known.boards, known.rows, known.date)
        assert dict(found.cycles) == pytest.approx(dict(known.cycles), rel=5e-3), name
    for found, known in zip(again.residuals, committed.residuals, strict=True):
        assert (found.low, found.high) == pytest.approx((known.low, known.high), rel=2e-2)


@pytest.fixture(scope="module")
def left_out(rows):
    own = calibrate.of_tree(rows, XCUBE)
    return own, calibrate.left_out(own, XCUBE)


@needs_published
@pytest.mark.parametrize(("version", "worst"), [("7.3", 0.09), ("8.1", 0.09)])
def test_unseen_families_on_m7(left_out, version, worst):
    own, predicted = left_out
    errors = np.array(
        [
            abs(p / row.cycles - 1)
            for row, p in zip(own, predicted, strict=True)
            if row.cell == ("M7", "x-cube-ai", version) and row.cycles >= 2e6
        ]
    )
    assert len(errors) >= 14
    assert errors.mean() <= worst
    assert np.mean(errors <= 0.1) >= 0.65
    assert np.mean(errors <= 0.2) >= 0.9


def observation(family, kind, cycles):
    return Observation(
        family, "n", kind, ("M4", "tflm", "2026"), "b", cycles, 0.05, np.zeros((1, 1))
    )


def test_residuals_widen_with_the_errors_and_families_count_once():
    calm = [(observation(f, "conv", 1e7), e) for f, e in (("a", 0.05), ("b", -0.05))]
    wild = [(observation(f, "conv", 1e7), e) for f, e in (("a", 0.5), ("b", -0.5))]
    narrow, wide = calibrate.residuals(calm)[0], calibrate.residuals(wild)[0]
    assert narrow.high == pytest.approx(math.expm1(1.645 * 0.05))
    assert wide.high == pytest.approx(math.expm1(1.645 * 0.5))
    often = calm + [calm[0]] * 50
    assert calibrate.residuals(often)[0].high == pytest.approx(narrow.high)


def test_small_networks_are_judged_apart():
    pairs = [
        (observation("a", "conv", 1e7), 0.05),
        (observation("b", "conv", 1e6), 1.0),
    ]
    found = {(r.runtime, r.kind): r for r in calibrate.residuals(pairs)}
    assert found["*", "*"].high < 0.1
    assert found["*", "small"].high > 1


def test_a_fit_takes_observations_from_anywhere():
    """As calibrating to a device will: made-up layers in, their coefficients out."""
    rng = np.random.default_rng(0)
    tree = XCUBE
    cell = ("M4", "x-cube-ai", "7.3")
    truth = {feature: cycles * 1.4 for feature, cycles in tree.prior.items()}
    made = []
    for i in range(300):
        table = np.zeros((len(calibrate.CLASSES), len(calibrate.QUANTITIES)))
        feature = list(tree.prior)[i % len(tree.prior)]
        names, quantity = calibrate.spread(feature)
        amount = float(rng.uniform(1e5, 1e6))
        table[calibrate.CLASSES.index(names[0]), calibrate.QUANTITIES.index(quantity)] = amount
        made.append(
            Observation(
                f"f{i}", "n", calibrate.LAYER, cell, "b", amount * truth[feature], 0.01, table
            )
        )
    known = calibrate.fit_observations(made).by_name[cell]
    for feature, cycles in truth.items():
        names, quantity = calibrate.spread(feature)
        assert known.cycles[f"{names[0]}.{quantity}"] == pytest.approx(cycles, rel=0.02), feature


def test_the_command_says_how_it_is_used(capsys):
    assert calibrate.main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_trees_name_known_classes():
    for tree in TREES:
        for feature in tree.prior:
            names, quantity = calibrate.spread(feature)
            assert set(names) <= set(calibrate.CLASSES)
            assert quantity in calibrate.QUANTITIES
