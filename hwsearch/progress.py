"""Live progress of a search: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from hwsearch.table import duration

QUIET_S = 30.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """Trials done, rejected, best so far, time left.

    Args:
        trials: to train in all.
        timeout_s: wall time at which the search stops; None is none.
        console: where it shows; stderr by default, so that stdout stays the caller's.
        clock: seconds; for tests.

    Example:
        >>> with Progress(trials=40) as progress:
        ...     progress.show(done=1, rejected=3, best="accuracy .884, 41 KiB")
    """

    def __init__(
        self,
        trials: int,
        timeout_s: float | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trials, self.timeout_s, self._clock = trials, timeout_s, clock
        self._console = console or Console(stderr=True)
        self._begin = clock()
        self._first_done: int | None = None
        self._last_line = -QUIET_S
        self._shown = ""
        self._text = ""
        self._bar: Bar | None = None
        if self._console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.completed}/{task.total} trials"),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("search", total=trials, text="", left="")

    def __enter__(self) -> Self:
        self._begin = self._clock()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._text and self._text != self._shown:
            self._line()

    def say(self, text: str) -> None:
        """One line that stays, above the bar."""
        self._console.print(text, markup=False, highlight=False)

    def show(self, *, done: int, rejected: int, best: str = "", failed: int = 0) -> None:
        """The state of the search; called as often as one likes.

        Args:
            done: trials trained.
            rejected: asks over budget.
            best: the best so far in words.
            failed: trials that crashed or timed out.
        """
        if self._first_done is None:
            self._first_done = done
        parts = [f"{rejected:,} rejected"]
        parts += [f"{failed:,} failed"] if failed else []
        parts += [f"best {best}"] if best else []
        text, left = " · ".join(parts), self._left(done)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, text=text, left=left)
            return
        self._text = f"{done}/{self.trials} trials · {text}" + (f" · {left}" if left else "")
        if self._clock() - self._begin - self._last_line >= QUIET_S:
            self._line()

    def _line(self) -> None:
        self._last_line, self._shown = self._clock() - self._begin, self._text
        self._console.print(self._text, markup=False, highlight=False, soft_wrap=True)

    def _left(self, done: int) -> str:
        """Time left by the pace so far, at most that of the time-out."""
        spent = self._clock() - self._begin
        new = done - (self._first_done or 0)
        guesses = []
        if new > 0:
            guesses.append(spent / new * max(self.trials - done, 0))
        if self.timeout_s is not None:
            guesses.append(max(self.timeout_s - spent, 0.0))
        return f"{duration(min(guesses))} left" if guesses else ""
