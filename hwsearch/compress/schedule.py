"""Schedules: a network cut at once, or in steps with training between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hwsearch.compress import structured
from hwsearch.compress.saliency import Saliency, keep
from hwsearch.errors import UnknownNameError
from hwsearch.graph import keras_channels
from hwsearch.graph.groups import ChannelGroups

STEPS = 4
"""Steps of a schedule that is not one-shot; fewer where there are fewer epochs."""

SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "one-shot": lambda time: 1.0,
    "iterative": lambda time: time,
    "agp": lambda time: 1 - (1 - time) ** 3,
}
"""Per schedule the share of the whole cut that is made after a share of the steps. ``"agp"`` is
the cubic one of automated gradual pruning (Zhu and Gupta 2017, arXiv:1710.01878)."""

T = TypeVar("T")


def cut(
    model: Any,
    widths: Mapping[str, int],
    rank: Callable[[Any, ChannelGroups], Saliency],
    schedule: str,
    epochs: int,
    tune: Callable[[Any, int], T],
) -> tuple[Any, list[Saliency], list[T]]:
    """The model cut to widths by a schedule, and trained.

    Each step ranks the channels of the network as the steps before left it, and trains with a
    learning rate of its own from the start (Le and Hua 2021, arXiv:2105.03193: that helps).

    Args:
        model: stays as it is.
        widths: channels to keep of each group that is cut.
        rank: the saliency of a network's channels.
        schedule: a key of :data:`SCHEDULES`.
        epochs: in all; each step trains one, the last what is left. Where nothing is cut there
            is one step.
        tune: trains a network in place for some epochs.

    Returns:
        (the network, the saliency of each step, what ``tune`` gave in each).

    Raises:
        UnknownNameError: the network has no such group.
    """
    full = dict(zip(*_names_and_widths(keras_channels.groups(model)), strict=True))
    for name in widths:
        if name not in full:
            raise UnknownNameError("channel group", name, full)
    at_once = schedule == "one-shot" or all(width >= full[n] for n, width in widths.items())
    steps = 1 if at_once else max(1, min(STEPS, epochs))
    rankings, tuned = [], []
    for step in range(1, steps + 1):
        groups = keras_channels.groups(model)
        share = SCHEDULES[schedule](step / steps)
        now = {
            name: full[name] - round(share * (full[name] - width))
            for name, width in widths.items()
            if name in groups.names  # one that is down to one channel is no group any more
        }
        rankings.append(rank(model, groups))
        model = structured.prune(model, groups, keep(rankings[-1].values, now))
        tuned.append(tune(model, epochs - steps + 1 if step == steps else 1))
    return model, rankings, tuned


def _names_and_widths(groups: ChannelGroups) -> tuple[tuple[str, ...], list[int]]:
    return groups.names, groups.widths.tolist()
