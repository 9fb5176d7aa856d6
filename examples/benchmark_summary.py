"""What `benchmark_agent.py` says of its results: counts, a mean with its interval, percentiles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist, fmean, mean, stdev
from typing import Final

from benchmark_results import Result

__all__ = ["figure", "mean_interval", "percentile", "summary"]

_Z: Final = NormalDist().inv_cdf(0.975)
_SHARE: Final = 0.95
_LONG: Final = 1e6


def summary(results: Sequence[Result], total: int, ran: int, seconds: float) -> list[str]:
    """What a person wants to know, in lines.

    Args:
        results: All of them, those from before included.
        total: How many tasks there are.
        ran: How many of them this process ran.
        seconds: How long it took for that.
    """
    rewards = [result.reward for result in results if result.reward is not None]
    succeeded = sorted(result.seconds for result in results if result.status == "succeeded")
    lines = [
        f"results     {len(results)} of {total}, {len(succeeded)} succeeded, {len(results) - len(succeeded)} did not"
    ]
    if rewards:
        lines.append(f"reward      {_mean_text(rewards)}")
    if rewards and len(rewards) < len(results):
        share = len(rewards) / len(results)
        lines.append(f"            mean {figure(mean(rewards) * share)} where no reward counts as 0")
    if succeeded:
        shown = "  ".join(f"p{share} {percentile(succeeded, share):.3f} s" for share in (50, 90, 99))
        lines.append(f"latency     {shown}, of those that succeeded")
    if ran:
        lines.append(f"throughput  {ran / seconds:.1f} a second ({ran} in {seconds:.1f} s)")
    failures = Counter(result.error for result in results if result.error is not None)
    lines += [f"failure     {count} x {error}" for error, count in failures.most_common()]
    return lines


def figure(number: float) -> str:
    """A number with three decimals, or three digits if it is a long one."""
    return f"{number:.3f}" if abs(number) < _LONG else f"{number:.3g}"


def percentile(ordered: Sequence[float], share: int) -> float:
    """The smallest of these ascending numbers that at least ``share`` percent of them do not exceed."""
    return ordered[max(math.ceil(len(ordered) * share / 100), 1) - 1]


def _mean_text(rewards: Sequence[float]) -> str:
    interval = mean_interval(rewards)
    centre = f"mean {figure(mean(rewards))}"
    if interval is not None:
        low, high, method = interval
        return f"{centre}, 95 % interval {figure(low)} to {figure(high)} ({method}) of {len(rewards)}"
    if len(rewards) == 1:
        why = "there is only one"
    elif len(set(rewards)) == 1:
        why = "they are all the same"
    else:
        why = "they are too large for one"
    return f"{centre} of {len(rewards)}, no interval: {why}"


def mean_interval(values: Sequence[float]) -> tuple[float, float, str] | None:
    """A 95 % confidence interval of the mean, and the name of the method.

    Wilson's score interval where every value is 0 or 1: it also tells what 20 successes of 20 leave open. Otherwise
    Student's t, which wants rewards that are not too skewed for their number.

    Args:
        values: Independent rewards, finite, at least one.

    Returns:
        Low, high and method; None where the values say nothing of their spread: there is one, or all are the same.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    n = len(values)
    if set(values) <= {0.0, 1.0}:
        share = fmean(values)
        middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
        return max(middle - half, 0.0), min(middle + half, 1.0), "Wilson"
    if len(set(values)) == 1:
        return None
    try:
        half = _student(n - 1) * stdev(values) / math.sqrt(n)
    except OverflowError:
        return None
    centre = mean(values)
    return (centre - half, centre + half, "Student") if math.isfinite(half) else None


def _student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t.

    Source: the closed forms for 1 and 2, and for more the series of Abramowitz and Stegun, 26.7.5: right to 0.2 %.
    """
    if freedom == 1:
        return math.tan(math.pi * _SHARE / 2)
    if freedom == 2:  # noqa: PLR2004 - the other number with a closed form
        return _SHARE * math.sqrt(2 / (1 - _SHARE**2))
    z, v = _Z, freedom
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )
