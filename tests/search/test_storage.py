"""The durable study, read back by Optuna itself: on sqlite and on a real PostgreSQL."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState, create_trial
from search.postgres import Postgres

from hwsearch.errors import InputError, StudyError
from hwsearch.ranks import Parameter
from hwsearch.search import database
from hwsearch.search.database import Database
from hwsearch.search.rows import AGAIN, DEATHS, REASON, REPEAT
from hwsearch.search.storage import Begun, Storage
from hwsearch.search.study import distributions, open_study

PARAMETERS = [Parameter("prune/a", 5, True), Parameter("backend", 3, False)]
ROW = {"prune/a": 2, "backend": 1}


OPEN: list[Database] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def opened(url: str, trials: int = 10, worker: str = "w") -> Storage:
    storage = open_study(
        url, "s", ["maximize", "minimize"], {"model": "m"}, distributions(PARAMETERS)
    )
    storage.worker = worker
    OPEN.append(storage.base)
    storage.start(trials, b"", [])
    return storage


def told(value: float, **marks: object) -> optuna.trial.FrozenTrial:
    return create_trial(values=[value, 1.0], constraints={"flash_bytes": -0.5}, user_attrs=marks)


def leaf(value: float) -> optuna.trial.FrozenTrial:
    storage_distributions = {
        "prune/a": optuna.distributions.IntDistribution(0, 4),
        "backend": optuna.distributions.CategoricalDistribution((0, 1, 2)),
    }
    return create_trial(
        values=[value, 2.0],
        params={"prune/a": 4, "backend": 0},
        distributions=storage_distributions,
        user_attrs={"leaf": True},
    )


def by_optuna(url: str) -> list[optuna.trial.FrozenTrial]:
    base = Database(url)
    with base.optuna() as storage:
        return optuna.load_study(study_name="s", storage=storage).get_trials()


def test_what_is_told_is_what_optuna_reads(url: str) -> None:
    storage = opened(url)
    begun = storage.begin(ROW, {"asks": {"rejected": 3}})
    assert begun is not None
    assert storage.tell(begun, told(0.5, result={"a": [1, 2]}), [leaf(0.25), leaf(float("inf"))])
    first, second, third = by_optuna(url)
    assert (first.number, second.number, third.number) == (0, 1, 2)
    assert first.params == ROW and first.values == [0.5, 1.0]
    assert first.constraints == {"flash_bytes": -0.5}
    assert first.user_attrs["result"] == {"a": [1, 2]}
    assert first.datetime_start is not None and first.duration is not None
    assert second.params == {"prune/a": 4, "backend": 0} and third.values == [float("inf"), 2.0]
    with storage.base.optuna() as through:
        study = optuna.load_study(study_name="s", storage=through)
        assert [t.number for t in study.best_trials]
        study.ask({"prune/a": optuna.distributions.IntDistribution(0, 4)})  # its tools go on


def test_news_are_each_told_trial_once_with_all_that_optuna_has(url: str) -> None:
    storage, other = opened(url), opened(url, worker="v")
    a, b = storage.begin(ROW, {}), other.begin(ROW, {})
    assert a is not None and b is not None
    assert storage.news() == []
    other.tell(b, told(0.75))
    news = storage.news()
    assert [t.number for t in news] == [b.number]
    known = by_optuna(url)[b.number]
    assert (news[0].params, news[0].values, news[0].constraints, news[0].user_attrs) == (
        known.params, known.values, known.constraints, known.user_attrs
    )  # fmt: skip
    storage.tell(a, told(0.5), [leaf(0.25)])
    assert [t.number for t in storage.news()] == [a.number, 2]
    assert storage.news() == [] and storage.unfinished == {}


def test_a_trial_is_told_once_and_by_who_has_it(url: str) -> None:
    storage, other = opened(url), opened(url, worker="v")
    begun = storage.begin(ROW, {})
    assert begun is not None
    assert other.reap(begun.trial_id, "w")
    assert not storage.tell(begun, told(0.5), [leaf(0.25)]), "it is another's by now"
    other.news()
    again = other.claim()
    assert again is not None and again.params == ROW and again.deaths == 1
    assert other.tell(again, told(0.75))
    assert not other.tell(again, told(0.75)), "a commit whose answer was lost is not done twice"
    states = Counter(t.state for t in by_optuna(url))
    assert states == {TrialState.FAIL: 1, TrialState.COMPLETE: 1}
    assert AGAIN in by_optuna(url)[0].user_attrs


def test_the_second_death_over_a_trial_fails_it_with_the_reason(url: str) -> None:
    storage = opened(url)
    begun = storage.begin(ROW, {})
    assert begun is not None and storage.reap(begun.trial_id, "w")
    storage.news()
    again = storage.claim()
    assert again is not None and storage.reap(again.trial_id, "w")
    last = by_optuna(url)[-1]
    assert len(by_optuna(url)) == 2 and last.state == TrialState.FAIL
    assert "died" in last.user_attrs[REASON]


def test_given_back_is_no_death(url: str) -> None:
    storage = opened(url)
    begun = storage.begin(ROW, {})
    for _ in range(3):
        assert begun is not None and storage.give_back(begun.trial_id)
        storage.news()
        begun = storage.claim()
    assert begun is not None and begun.deaths == 0
    assert DEATHS not in by_optuna(url)[-1].user_attrs


def test_no_more_trials_begin_than_were_wanted(url: str) -> None:
    storage = opened(url, trials=2)
    first, second = storage.begin(ROW, {}), storage.begin(ROW, {})
    assert first is not None and second is not None
    assert storage.begin(ROW, {}) is None and storage.state() == ("open", 0)
    storage.give_back(second.trial_id)
    storage.news()
    assert storage.state() == ("open", 1)
    third = storage.claim()
    assert third is not None and storage.claim() is None
    storage.tell(third, told(0.5, **{REPEAT: True}))
    assert storage.state() == ("open", 1), "a repeat costs no trial"
    storage.fail(first, "diverged")
    storage.finish("done")
    assert storage.begin(ROW, {}) is None
    storage.start(2, b"", [])  # a new session tries as many again as failed
    assert storage.state() == ("open", 2)


def in_threads(work: Callable[[int], object], count: int) -> list[object]:
    found: list[object] = [None] * count

    def one(i: int) -> None:
        found[i] = work(i)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_workers_at_once_number_trials_without_gap_and_reap_once(url: str) -> None:
    workers = [opened(url, trials=100, worker=f"w{i}") for i in range(6)]

    def work(i: int) -> list[Begun]:
        found = []
        for _ in range(5):
            begun = workers[i].begin(ROW, {})
            assert begun is not None
            workers[i].tell(begun, told(i / 10), [leaf(0.1)])
            found.append(begun)
        last = workers[i].begin(ROW, {})
        assert last is not None
        return [*found, last]

    begun = in_threads(work, 6)
    found = by_optuna(url)
    assert sorted(t.number for t in found) == list(range(6 * 11))
    assert sum(t.state == TrialState.COMPLETE for t in found) == 60
    assert {len(w.news()) for w in workers} == {60}
    left = [b[-1] for b in begun]  # type: ignore[index]
    reaped = in_threads(
        lambda i: sum(workers[i].reap(b.trial_id, f"w{k}") for k, b in enumerate(left)), 6
    )
    assert sum(reaped) == 6, "each by exactly one"  # type: ignore[arg-type]
    for worker in workers:
        worker.news()
    claimed = in_threads(lambda i: workers[i].claim(), 6)
    assert len({c.trial_id for c in claimed if c is not None}) == 6  # type: ignore[attr-defined]


def test_what_begins_while_the_next_owner_counts_is_counted(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, storage = opened(url, worker="other"), opened(url)
    counted, late = storage.rows.busy, threading.Thread(target=lambda: other.begin(ROW, {}))

    def busy(c: sa.Connection) -> int:
        found = counted(c)
        late.start()
        late.join(1.0)  # it ends here, unless it has to wait for this transaction
        return found

    monkeypatch.setattr(storage.rows, "busy", busy)
    storage.start(1, b"", [])
    late.join(30)
    assert not late.is_alive() and storage.state() == ("open", 0)


def test_schemas_made_at_once(url: str) -> None:
    storages = in_threads(lambda i: opened(url, worker=f"w{i}"), 4)
    assert len({s.study_id for s in storages}) == 1  # type: ignore[attr-defined]


def test_a_database_of_another_version_is_named(url: str) -> None:
    opened(url)
    base = Database(url)
    OPEN.append(base)
    base.write(lambda c: c.execute(sa.text("update alembic_version set version_num = 'v9.9.9'")))
    with pytest.raises(StudyError, match=r"(?s)cannot be read.*compatible"):
        opened(url)
    with pytest.raises(StudyError, match=r"(?s)cannot be read.*compatible"):
        base.check()


def test_a_database_that_only_now_starts_is_waited_for(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.make("starting")
    postgres.kill()
    monkeypatch.setattr(database, "START_S", 0.0)
    with pytest.raises(StudyError, match=r"refused|server closed|starting up|not yet"):
        opened(url)
    monkeypatch.setattr(database, "START_S", 60.0)
    late = threading.Timer(1.0, postgres.start)
    late.start()
    try:
        opened(url)
    finally:
        late.join()


def test_a_database_that_cannot_be_reached_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "START_S", 0.0)
    base = Database("postgresql+psycopg://me:secret@127.0.0.1:9/none")
    with pytest.raises(StudyError, match=r"me:\*\*\*@127\.0\.0\.1:9") as caught:
        base.make(lambda storage: None)
    assert "secret" not in str(caught.value)
    with pytest.raises(InputError, match=r"postgresql\+psycopg://user@host"):
        Database("mongodb://x")


def test_an_empty_database_has_no_study(url: str, tmp_path: Path) -> None:
    OPEN.append(Database(url))
    with pytest.raises(StudyError, match="there is no study"):
        OPEN[0].check()
