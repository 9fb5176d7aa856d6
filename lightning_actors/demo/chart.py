"""A reward curve in the terminal."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Final

from lightning_actors.errors import MissingExtra

__all__ = ["draw_curve", "moving_mean"]

_WIDTH: Final = 78
_HEIGHT: Final = 14


def moving_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and those before it, ``window`` at most."""
    return [fmean(values[max(0, end - window) : end]) for end in range(1, len(values) + 1)]


def draw_curve(rewards: Sequence[float], *, window: int) -> str:
    """Draw the moving mean of rewards.

    Args:
        rewards: In the order of the rollouts, at least one.
        window: Over how many rollouts the mean is taken.

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
    figure.ruler("y").lim(0, 1)
    figure.title(f"mean reward of the last {window} rollouts")
    figure.label("rollouts of the search", "x")
    drawn: str = figure.build().string(colorless=True)
    figure.clear()
    return drawn.rstrip("\n")
