"""Rounds of measurements: in each round the contenders take turns, each in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

from benchmarks.case import Case, Contender, Options
from benchmarks.figure import Round, Sample
from benchmarks.meter import Backend

__all__ = ["PROJECT", "CaseRun", "Measure", "MeasurementFailed", "Processes", "run_case"]

PROJECT: Final = Path(__file__).parents[1]
_SECONDS: Final = 900.0


class MeasurementFailed(RuntimeError):
    """A process that was to measure something ended without a sample."""


class Measure(Protocol):
    """What takes one sample."""

    def __call__(self, case: Case, contender: Contender, options: Options) -> Sample:
        """Take it."""
        ...


@dataclass(frozen=True, slots=True)
class Processes:
    """Measures in processes of their own.

    Attributes:
        peer_python: The interpreter of the environment in which Agent Lightning is installed; None to do without.
    """

    peer_python: Path | None = None

    def __call__(self, case: Case, contender: Contender, options: Options) -> Sample:
        """Take one sample.

        Raises:
            MeasurementFailed: The process failed, or took longer than 15 minutes.
        """
        command = self._command(case, contender, options)
        try:
            done = subprocess.run(  # noqa: S603 - our own modules
                command,
                cwd=PROJECT,
                env={**os.environ, **_ENVIRONMENT},
                capture_output=True,
                text=True,
                check=False,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise MeasurementFailed(f"{case.name}, {contender}: it took longer than {_SECONDS:.0f} s") from None
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            raise MeasurementFailed(f"{case.name}, {contender}: it ended with {done.returncode}\n{done.stderr[-4000:]}")
        return json.loads(lines[-1])

    def _command(self, case: Case, contender: Contender, options: Options) -> list[str]:
        if contender == "peer":
            module = f"benchmarks.agent_lightning.{case.peer}"
            return [str(self.peer_python), "-m", module, json.dumps(dict(options.sizes))]
        told = json.dumps(asdict(options))
        return [sys.executable, "-m", "benchmarks.worker", case.name, contender, told]


_ENVIRONMENT: Final[Mapping[str, str]] = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else Agent Lightning's import looks for a network first
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True, slots=True)
class CaseRun:
    """What was measured of a case.

    Attributes:
        case: The case.
        options: What its contenders were told.
        rounds: The samples of each round.
    """

    case: Case
    options: Options
    rounds: Sequence[Round]


def run_case(
    case: Case,
    measure: Measure,
    *,
    rounds: int,
    with_peer: bool = False,
    tiny: bool = False,
    backend: Backend = "asyncio",
    began: Callable[[str], None] = lambda _: None,
) -> CaseRun:
    """Measure a case.

    Args:
        case: The case.
        measure: Takes one sample.
        rounds: How often each contender has its turn.
        with_peer: Whether Agent Lightning takes part.
        tiny: Whether to use the case's smallest sizes.
        backend: The event loop, for cases that have a choice.
        began: Told before each measurement, in words.
    """
    options = Options(dict(case.tiny if tiny else case.sizes), backend if case.chooses_loop else "asyncio")
    samples: list[dict[str, Sample]] = [{} for _ in range(rounds)]
    for number, contender in turns(case.contenders(with_peer=with_peer), rounds):
        began(f"{case.name}: round {number + 1} of {rounds}, {contender}")
        samples[number][contender] = measure(case, contender, options)
    return CaseRun(case, options, samples)


def turns(contenders: Sequence[Contender], rounds: int) -> Iterator[tuple[int, Contender]]:
    """Who is measured when: A B, A B, …, so that a slow minute of the machine meets all of them."""
    return ((number, contender) for number in range(rounds) for contender in contenders)
