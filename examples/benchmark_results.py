"""What `benchmark_agent.py` keeps and counts: results in a file that survives a kill, and their summary."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["Result", "ResultsFile", "mean_interval", "percentile", "summary"]

_Z: Final = NormalDist().inv_cdf(0.975)
_SHARE: Final = 0.95
_BEGINNING: Final = b'{"task_id":'


class Result(BaseModel):
    """How one task went: one line of the results.

    Attributes:
        task_id: The task's ``id``, or the number of its line.
        rollout_id: The rollout, as logs and errors name it.
        status: How the rollout ended: succeeded, failed or cancelled.
        reward: Its final reward; None if there was none.
        seconds: How long the agent ran. Waiting for a place among those that run at once does not count; waiting for
            the event loop does, which async agents share.
        error: The class of what it failed with; None if it succeeded.
        message: What that error said.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: int | str
    rollout_id: str
    status: str
    reward: float | None
    seconds: float
    error: str | None = None
    message: str | None = None


class ResultsFile:
    """A file of results that is only ever added to, a line at a time.

    A process that is killed leaves at most its last line cut off. Opening mends that: what is not a whole line is taken
    away, and its task counts as not run.

    Args:
        path: The file; it need not exist.

    Attributes:
        before: The results that were there.

    Raises:
        ValueError: A line is no result, nor the beginning of one. Nothing has been changed then.
        OSError: The file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        *lines, last = path.read_bytes().split(b"\n") if path.exists() else [b""]
        self.before = [self._read(number, line) for number, line in enumerate(lines, 1)]
        is_whole = bool(last)
        try:
            self.before += [self._read(len(lines) + 1, last)] if last else []
        except ValueError:
            if not (last.startswith(_BEGINNING) or _BEGINNING.startswith(last)):
                raise
            is_whole = False
        self._file = path.open("ab")
        self._file.truncate(sum(len(line) + 1 for line in lines) + len(last) * is_whole)
        if is_whole:
            self._file.write(b"\n")
            self._file.flush()

    def _read(self, number: int, line: bytes) -> Result:
        try:
            return Result.model_validate_json(line)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise ValueError(
                f"{self._path}:{number}: no result of this program ({problem}): name another --out"
            ) from None

    def add(self, result: Result) -> None:
        """Write a line and hand it to the operating system, which keeps it whatever becomes of this process."""
        self._file.write(result.model_dump_json().encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


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
        low, high, method = mean_interval(rewards)
        lines.append(
            f"reward      mean {fmean(rewards):.3f}, 95 % interval {low:.3f} to {high:.3f} ({method}) of {len(rewards)}"
        )
    if rewards and len(rewards) < len(results):
        lines.append(f"            mean {sum(rewards) / len(results):.3f} where no reward counts as 0")
    if succeeded:
        shown = "  ".join(f"p{share} {percentile(succeeded, share):.3f} s" for share in (50, 90, 99))
        lines.append(f"latency     {shown}, of those that succeeded")
    if ran:
        lines.append(f"throughput  {ran / seconds:.1f} a second ({ran} in {seconds:.1f} s)")
    failures = Counter(result.error for result in results if result.error is not None)
    lines += [f"failure     {count} x {error}" for error, count in failures.most_common()]
    return lines


def percentile(ordered: Sequence[float], share: int) -> float:
    """The smallest of these ascending numbers that at least ``share`` percent of them do not exceed."""
    return ordered[max(math.ceil(len(ordered) * share / 100), 1) - 1]


def mean_interval(values: Sequence[float]) -> tuple[float, float, str]:
    """A 95 % confidence interval of the mean, and the name of the method.

    Wilson's score interval where every value is 0 or 1: it also tells what 20 successes of 20 leave open. Otherwise
    Student's t, which wants rewards that are not too skewed for their number, and two of them at least.

    Args:
        values: Independent rewards, at least one.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    n, mean = len(values), fmean(values)
    if set(values) <= {0.0, 1.0}:
        middle = (mean + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(mean * (1 - mean) / n + _Z**2 / (4 * n**2))
        return max(middle - half, 0.0), min(middle + half, 1.0), "Wilson"
    half = _student(n - 1) * stdev(values) / math.sqrt(n) if n > 1 else math.inf
    return mean - half, mean + half, "Student"


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
