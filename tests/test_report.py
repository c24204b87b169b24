"""The Report: its front, its texts, and JSON there and back."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import factories
import pytest
from rich.console import Console

from hwsearch.budget import Budget
from hwsearch.choice import heaviest
from hwsearch.cost.cost import OpCost
from hwsearch.errors import ModelFileError, UnknownNameError
from hwsearch.report import Report
from hwsearch.table import print_table


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return factories.report(tmp_path)


def test_the_front_is_sorted_and_no_finalist_dominates_it(report: Report) -> None:
    values = [m.score.value for m in report.front]
    assert values == sorted(values, reverse=True) and len(values) >= 2

    def point(m: object) -> tuple[float, ...]:
        return (-m.score.value, *(m.known(c) for c in report.budget.limits))

    for model in report.front:
        for verified in report.finalists:
            rival = point(report.trial(verified.trained.candidate.number))
            assert rival == point(model) or any(
                a > b for a, b in zip(rival, point(model), strict=True)
            )


def test_the_front_judges_by_what_was_measured(tmp_path: Path) -> None:
    trials = [factories.trained(tmp_path, n, 0.9) for n in (0, 1)]
    both = [factories.verified(t) for t in trials]
    larger = replace(both[1].measurement, flash_bytes=90_000)
    report = factories.report(
        tmp_path, finalists=(both[0], replace(both[1], measurement=larger)), winner=both[0]
    )
    assert [m.number for m in report.front] == [0]


def test_the_chosen_reads_as_one_model(report: Report) -> None:
    chosen = report.chosen
    assert chosen.number == report.winner.trained.candidate.number
    assert chosen.score is report.winner.score and chosen.tflite.is_file()
    assert chosen.tflite_bytes == len(chosen.tflite.read_bytes())
    assert chosen.known("latency_s") == chosen.cost.latency_s
    assert report.trial(chosen.number) == chosen
    with pytest.raises(UnknownNameError, match="finalist 999"):
        report.trial(999)


def test_a_chosen_one_off_the_front_is_shown_too(tmp_path: Path) -> None:
    worse = factories.verified(
        factories.trained(tmp_path, 90, 0.8, costs=factories.cost(99_000, 30_000))
    )
    better = factories.verified(factories.trained(tmp_path, 91, 0.9))
    report = factories.report(tmp_path, finalists=(worse, better), winner=worse)
    assert [m.number for m in report.front] == [91]
    assert [m.number for m in report.shown] == [91, 90]


def test_the_table_says_estimate_measurement_band_flag_level_and_oracle(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    text = report.table()
    assert capsys.readouterr().out.strip() == text.strip() and repr(text) == ""
    row = next(line for line in text.splitlines() if "►" in line)
    assert re.search(rf"► {report.chosen.number} ", row)
    for expected in (
        "≤ ",
        "+25%",
        "= 14.0",
        "outputs",
        "(tflite-micro)",
        "142 asked",
        "7 min 12 s",
    ):
        assert expected in text
    assert "no compiler for this runtime" in text


def test_flags_tell_sure_likely_and_over(tmp_path: Path) -> None:
    def flags(latency: float) -> str:
        trial = factories.trained(tmp_path, 0, costs=factories.cost(latency=latency))
        model = factories.verified(trial)
        report = factories.report(tmp_path, finalists=(model,), winner=model)
        text = print_table(report, Console(file=StringIO(), width=200))
        head = next(line for line in text.splitlines() if "latency" in line and "trial" in line)
        row = next(line for line in text.splitlines() if "► 0" in line)
        return row[head.index("latency")]

    assert flags(0.110) == "≤" and flags(0.130) == "≲" and flags(0.160) == ">"


def test_a_cost_that_nobody_knows_is_not_shown_as_zero(tmp_path: Path) -> None:
    model = factories.verified(factories.trained(tmp_path, 0, costs=factories.cost(latency=None)))
    report = factories.report(
        tmp_path, finalists=(model,), winner=model, budget=Budget(flash=10**6)
    )
    text = report.table()
    assert "latency" not in text.splitlines()[2] and "energy" not in text


def test_the_notebook_form_escapes_what_users_name(tmp_path: Path) -> None:
    report = factories.report(tmp_path, study="<script>x</script>", notes=("a < b",))
    html = report._repr_html_()
    assert (
        "<script>" not in html
        and "a &lt; b" in html
        and html.count("<tr") == 1 + len(report.shown)
    )


def test_explain_names_the_binding_limit_and_its_operator(report: Report) -> None:
    text = report.explain()
    chosen, excess = report.chosen, report.budget.excess(report.chosen.cost)
    binding = max(excess, key=lambda name: excess[name])
    assert binding == "flash_bytes"
    assert f"{1 + excess[binding]:.0%} of 192.0 KiB" in text
    op = heaviest(chosen.cost, binding)
    assert op.flash_bytes == max(o.flash_bytes for o in chosen.cost.ops)
    assert f"operator {op.index} ({op.kind})" in text
    assert f"Trial {chosen.number}" in text and "95 % interval" in text


def test_explain_says_what_a_better_one_costs(report: Report) -> None:
    chosen = report.winner.trained
    line = next(x for x in report.explain().splitlines() if x.startswith("The cheapest better"))
    number = int(re.search(r"trial (\d+)", line)[1])
    found = next(t for t in report.history if t.candidate.number == number)
    gain = found.score.value - chosen.score.value
    assert gain > 0 and f"{gain:.4f}" in line


def test_when_nothing_fits_the_nearest_miss_is_explained(tmp_path: Path) -> None:
    report = factories.report(
        tmp_path, finalists=(), winner=None, nearest_miss=factories.miss(), history=()
    )
    text = report.explain()
    assert "RAM over by 20.0%" in text and "operator 2 (conv_2d)" in text and "28.8 KiB" in text
    assert "Nothing fits" in report.table()
    assert report.front == () and report.chosen is None


def test_when_models_fit_but_none_is_good_enough_that_is_said(tmp_path: Path) -> None:
    budget = replace(factories.BUDGET, accuracy=0.99)
    report = factories.report(tmp_path, finalists=(), winner=None, budget=budget)
    best = max(report.history, key=lambda t: t.score.value)
    assert f"trial {best.candidate.number} with accuracy" in report.explain()
    assert "0.99 was asked for" in report.explain() and "0.99" in report.table()
    none = factories.report(tmp_path, 0, finalists=(), winner=None)
    assert "Nothing was scored" in none.explain()


def test_heaviest_is_none_without_a_break_down() -> None:
    bare = replace(factories.cost(), ops=())
    assert heaviest(bare, "ram_bytes") is None
    unknown = replace(factories.cost(), ops=(OpCost(0, "conv_2d", 1, None, 1, 1),))
    assert heaviest(unknown, "latency_s") is None


def test_save_and_load_are_inverse(report: Report, tmp_path: Path) -> None:
    assert Report.load(report.save(tmp_path / "a" / "report.json")) == report


def test_a_study_that_was_moved_is_loaded_by_its_folder(report: Report, tmp_path: Path) -> None:
    home = report.directory
    report.save(home / "report.json")
    moved = home.rename(tmp_path.parent / f"{tmp_path.name}-moved")
    loaded = Report.load(moved)
    assert loaded.chosen.tflite.is_file() and loaded.chosen.tflite.is_relative_to(moved)
    assert replace(loaded, directory=home, history=(), finalists=(), winner=None) == replace(
        report, history=(), finalists=(), winner=None
    )


def test_a_folder_without_a_report_says_where_there_are_some(
    report: Report, tmp_path: Path
) -> None:
    with pytest.raises(ModelFileError, match=r"Expected the folder of a finished study"):
        Report.load(tmp_path / "mlruns")
    report.save(tmp_path / "mlruns" / "studies" / "bikes" / "report.json")
    with pytest.raises(ModelFileError, match=r"Finished searches: .*studies/bikes"):
        Report.load(tmp_path / "mlruns")
    running = tmp_path / "mlruns" / "studies" / "cars"
    running.mkdir()
    (running / "study.db").touch()
    with pytest.raises(ModelFileError, match="search is not over"):
        Report.load(running)


def test_the_front_follows_the_objectives(tmp_path: Path) -> None:
    """Three models: the most accurate, the smallest, and the fastest, which is neither."""
    costs = [factories.cost(90_000, latency=0.09), factories.cost(30_000, latency=0.05)]
    costs += [factories.cost(60_000, latency=0.02)]
    models = tuple(
        factories.verified(factories.trained(tmp_path, n, value, costs=c))
        for n, (value, c) in enumerate(zip((0.90, 0.85, 0.80), costs, strict=True))
    )

    def front(*objectives: str) -> list[int]:
        report = factories.report(
            tmp_path, finalists=models, winner=models[0], objectives=objectives
        )
        return [c.number for c in report.front]

    assert front("metric") == [0] and front("latency_s") == [2]
    assert front("metric", "flash_bytes") == [0, 1]
    assert front("metric", "latency_s") == front("metric", "flash_bytes", "latency_s") == [0, 1, 2]
    default = factories.report(tmp_path, budget=Budget())
    assert default.objectives == ("metric", "flash_bytes")


def test_the_file_has_the_promised_keys_and_no_nan(report: Report, tmp_path: Path) -> None:
    record = json.loads(report.save(tmp_path / "r.json").read_text())
    assert record["schema"] == 1 and record["budget"]["ram_bytes"] == 24 * 1024
    final = record["finalists"][0]
    assert final["measurement"]["mismatched_outputs"] == 0
    assert final["trained"]["candidate"]["cost"]["ops"][2]["kind"] == "conv_2d"


@pytest.mark.parametrize(
    "content", ["", "[]", '{"schema": 2}', '{"schema": 1}', '{"schema": 1, "study": 3}']
)
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(ModelFileError):
        Report.load(path)
    with pytest.raises(ModelFileError):
        Report.load(tmp_path / "missing.json")


def test_the_data_frame_has_a_row_a_trial_and_measurements_of_finalists(report: Report) -> None:
    frame = report.to_dataframe()
    assert list(frame.index) == [t.candidate.number for t in report.history]
    assert not frame["diverged"].any()
    assert frame["chosen"].sum() == 1 and frame.index[frame["chosen"]][0] == report.chosen.number
    assert frame["report_accuracy"].notna().sum() == len(report.finalists)
    assert frame.loc[report.chosen.number, "measured_arena_bytes"] == 14_336


def test_what_more_room_buys_a_kib_and_whether_that_is_more_than_chance(tmp_path: Path) -> None:
    """40 KiB more flash buy 0.02: 0.0005 a KiB; the limits and the noise are said."""
    small = factories.trained(tmp_path, 0, 0.88, 0.005, factories.cost(100 << 10))
    large = factories.trained(tmp_path, 1, 0.90, 0.005, factories.cost(140 << 10))

    def line(rival: object, **changes: object) -> str:
        model = factories.verified(small)
        changed = {"history": (small, rival), "finalists": (model,), "winner": model} | changes
        return factories.report(tmp_path, **changed).explain().splitlines()[-1]

    assert "0.0200 on the search half for 40.0 KiB more flash, 0.0005 a KiB of flash." in line(
        large
    )
    assert "chance" in line(replace(large, score=factories.score(0.881, 0.005)))
    over = line(large, budget=replace(factories.BUDGET, flash=120 << 10))
    assert "flash would be 16.7% over its limit" in over
    assert "more room buys nothing known" in line(replace(large, score=factories.score(0.87)))


def test_the_page_opens_offline(report: Report, tmp_path: Path) -> None:
    text = report.html(tmp_path / "r.html").read_text()
    assert text.count("<svg") == 9  # six pairs, progress, operators, memory
    sources = re.findall(r"""(?:src|href)\s*=\s*["']([^"'#]*)""", text)
    assert set(sources) <= {""} and "http" not in re.sub(r'xmlns[:\w]*="[^"]*"', "", text)
    assert text.count("<tr") == 2 + len(report.shown) + len(report.history)


def test_the_page_escapes_what_users_name(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>"
    report = factories.report(tmp_path, study=name, notes=(name,), metric=name)
    text = report.html(tmp_path / "r.html").read_text()
    assert name not in text and text.count("<script>") == 1


def test_a_search_that_found_nothing_has_a_page_too(tmp_path: Path) -> None:
    report = factories.report(
        tmp_path, 0, finalists=(), winner=None, nearest_miss=factories.miss()
    )
    text = report.html(tmp_path / "r.html").read_text()
    assert text.count("Nothing fits") == 1 and "<svg" not in text and "<table" not in text
