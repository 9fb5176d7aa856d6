"""A reward curve in the terminal."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Final

from lightning_actors.errors import MissingExtra

__all__ = ["draw_bar", "draw_curve", "moving_mean"]

_WIDTH: Final = 78
_HEIGHT: Final = 14
_BAR_WIDTH: Final = 25
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


def moving_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and those before it, ``window`` at most."""
    return [fmean(values[max(0, end - window) : end]) for end in range(1, len(values) + 1)]


def draw_bar(value: float, *, top: float) -> str:
    """Draw a number as a bar, to an eighth of a character; ``top`` and anything above it fills the width."""
    eighths = round(min(max(value / top, 0), 1) * _BAR_WIDTH * len(_EIGHTHS))
    whole, rest = divmod(eighths, len(_EIGHTHS))
    return ("█" * whole + _EIGHTHS[rest]).rstrip()


def draw_curve(
    rewards: Sequence[float],
    *,
    window: int,
    top: float = 1,
    title: str | None = None,
    label: str = "rollouts of the search",
) -> str:
    """Draw the moving mean of rewards.

    Args:
        rewards: In the order of the rollouts, at least one.
        window: Over how many rollouts the mean is taken.
        top: The highest reward.
        title: What stands above it; by default what the mean is taken of.
        label: What stands below it.

    Returns:
        Lines of plain text.

    Raises:
        MissingExtra: plotext is not installed.
    """
    try:
        plotext: Any = importlib.import_module("plotext")
    except ImportError as error:
        raise MissingExtra("the reward curve", extra="cli") from error
    figure = plotext.figure
    figure.clear()
    figure.plot_size(_WIDTH, _HEIGHT)
    means = moving_mean(rewards, window)
    figure.draw(figure.signal(list(range(1, len(means) + 1)), means, marker="braille"))
    figure.ruler("y").lim(0, top)
    figure.title(title or f"mean reward of the last {window} rollouts")
    figure.label(label, "x")
    drawn: str = figure.build().string(colorless=True)
    figure.clear()
    return drawn.rstrip("\n")
