"""What is told of a training: QAT's twin, and zeros that a runtime does not pay for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from optuna.trial import TrialState
from search.tasks import task

from hwsearch.backends import backend
from hwsearch.budget import Budget
from hwsearch.candidate import Score
from hwsearch.search import study
from hwsearch.search.outcome import outcomes, unpaid
from hwsearch.search.training import Artefact, Result
from hwsearch.space import Space


def test_a_note_where_zeros_save_nothing(tmp_path: Path) -> None:
    chosen = task(tmp_path, Budget(flash="1 MiB"), trials=1)
    ranks = chosen.pricing.ranks
    dense = ranks.configuration([0] * len(ranks.parameters))
    sparse = replace(dense, sparsity=0.5)
    assert dense.backend == "tflm"
    assert unpaid(chosen, dense, chosen.pricing.cost(dense)) == ()
    (note,) = unpaid(chosen, sparse, chosen.pricing.cost(sparse))
    assert note == "tflm stores zeros and shared values like other weights: they save nothing"
    saved = replace(chosen.pricing.cost(sparse), flash_bytes=1)
    assert unpaid(chosen, sparse, saved) == ()


def test_the_note_says_why_zeros_save_nothing(tmp_path: Path) -> None:
    chosen = task(tmp_path, Budget(flash="1 MiB"), trials=1, widths=(256,))
    ranks = replace(chosen.pricing.ranks, backends=(backend("aot"),))
    chosen = replace(chosen, pricing=replace(chosen.pricing, ranks=ranks))
    dense = ranks.configuration([0] * len(ranks.parameters))

    def said(**changes: object) -> str:
        leaf = replace(dense, **changes)
        return " ".join(unpaid(chosen, leaf, chosen.pricing.cost(leaf)))

    assert said(clusters=16) == said(sparsity=0.8) == said(clusters=32, sparsity=0.8) == ""
    assert said(clusters=32) == (
        "aot stores 32 values like any number (a palette holds 16): they save nothing"
    )
    assert "not worth the code or the time" in said(sparsity=0.05)
    low = said(clusters=16, weight_bits=(4,) * len(dense.weight_bits))
    assert low == (
        "aot stores zeros and shared values at these bits like other weights: they save nothing"
    )


def test_the_score_without_qat_is_told_and_read_again(tmp_path: Path) -> None:
    space = Space(activation_bits=(8,), qat=(False, True))
    chosen = replace(task(tmp_path, Budget(flash="1 MiB"), trials=1), space=space)
    ranks = replace(chosen.pricing.ranks, space=space)
    chosen = replace(chosen, pricing=replace(chosen.pricing, ranks=ranks))
    row = [0] * len(ranks.parameters)
    row[[p.name for p in ranks.parameters].index("qat")] = 1
    leaf = ranks.configuration(row)
    job = chosen.job([leaf])
    assert job.elementwise.qat and job.structure == leaf.structure
    assert job.plain is not None and job.plain.plain is None
    assert job.plain.structure == replace(leaf, qat=False).structure
    promoted = chosen.job([replace(leaf, rung=1)]) if chosen.space.rungs else job
    assert promoted.plain is not None
    with_, without = (Score(v, v - 0.01, v + 0.01, 100, "here") for v in (0.9, 0.8))
    artefact = Artefact(job.precisions[0], tmp_path / "a.tflite", with_, without)
    result = Result((), 1.0, (artefact,), ("a note",), diverged=True)
    told = outcomes(chosen, study.distributions(ranks.parameters), 3, row, [leaf], result)
    assert [t.state for t in told] == [TrialState.COMPLETE]
    again = study.trained(told[0], chosen.pricing.cost, tmp_path)
    assert again is not None
    assert (again.score, again.plain, again.notes) == (with_, without, ("a note",))
    assert again.diverged
