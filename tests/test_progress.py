"""Progress on a terminal and without one."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from hwsearch.progress import QUIET_S, Progress


class Clock:
    """Time that passes when told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def quiet(trials: int = 10, timeout_s: float | None = None) -> tuple[Progress, Clock, StringIO]:
    clock, out = Clock(), StringIO()
    console = Console(file=out, width=200, force_terminal=False)
    return Progress(trials, timeout_s, console, clock), clock, out


def test_without_a_terminal_there_is_a_line_now_and_then() -> None:
    progress, clock, out = quiet()
    with progress:
        for done in range(1, 8):
            clock.now += QUIET_S / 3
            progress.show(done=done, rejected=3 * done, best="accuracy .884, 41 KiB")
    lines = out.getvalue().splitlines()
    assert len(lines) == 3, lines
    assert lines[0].startswith("1/10 trials · 3 rejected · best accuracy .884, 41 KiB")
    assert lines[-1].startswith("7/10 trials · 21 rejected"), "the last state is always said"


def test_an_unchanged_state_is_not_said_twice() -> None:
    progress, _, out = quiet()
    with progress:
        progress.show(done=1, rejected=0)
    assert len(out.getvalue().splitlines()) == 1


def test_nothing_shown_nothing_said() -> None:
    progress, _, out = quiet()
    with progress:
        pass
    assert out.getvalue() == ""


def test_time_left_follows_the_pace_of_this_session() -> None:
    progress, clock, out = quiet(trials=12)
    with progress:
        progress.show(done=2, rejected=0)  # two of an earlier session
        clock.now += 60
        progress.show(done=4, rejected=0)
    assert out.getvalue().splitlines()[-1].endswith("4 min 00 s left")


def test_a_time_out_caps_the_time_left() -> None:
    progress, clock, out = quiet(trials=1000, timeout_s=90)
    with progress:
        progress.show(done=0, rejected=0)
        clock.now += 60
        progress.show(done=1, rejected=0)
    assert out.getvalue().splitlines()[-1].endswith("· 30.0 s left")


def test_failures_are_shown_once_there_are_some() -> None:
    progress, clock, out = quiet()
    with progress:
        progress.show(done=1, rejected=0)
        clock.now += QUIET_S
        progress.show(done=2, rejected=0, failed=1)
    first, last = out.getvalue().splitlines()
    assert "failed" not in first and "1 failed" in last


def test_on_a_terminal_there_is_a_bar_that_leaves_no_trace() -> None:
    out = StringIO()
    console = Console(file=out, width=160, force_terminal=True, color_system=None)
    with Progress(8, console=console) as progress:
        progress.show(done=3, rejected=5, best="accuracy .9")
        progress.say("layer 'x' is [frozen]")
        progress._bar.refresh()
    text = out.getvalue()
    assert "3/8 trials" in text and "5 rejected · best accuracy .9" in text and "━" in text
    assert "layer 'x' is [frozen]" in text, "markup in a user's names is text"
    assert text.rstrip("\n").endswith("\x1b[2K") or "\x1b[1A" in text
