"""The demonstration itself: learn, then show the curve, one held-out episode's spans and the comparison."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TextIO

import anyio

from lightning_actors.demo.cartpole.agent import LONGEST, play_episode
from lightning_actors.demo.cartpole.reinforce import LearningProgress, Reinforce, ReinforceResult
from lightning_actors.demo.chart import draw_bar, draw_curve
from lightning_actors.demo.printer import Printer
from lightning_actors.report import render_span_tree
from lightning_actors.trainer import RunResult, Trainer
from lightning_actors.types import Span

__all__ = ["CartPoleReport", "run_cartpole"]

_WINDOW: Final = 64
_CURVE_WINDOW: Final = 16


@dataclass(frozen=True, slots=True)
class CartPoleReport:
    """What came of the demonstration.

    Attributes:
        learning: What the algorithm found.
        run: What the trainer returned.
        seconds: How long it all took.
    """

    learning: ReinforceResult
    run: RunResult
    seconds: float


def run_cartpole(
    *,
    seed: int = 0,
    target: float = 450.0,
    episodes: int = 2000,
    limit_seconds: float = 60.0,
    workers: int = 8,
    held_out: int = 20,
    out: TextIO | None = None,
) -> CartPoleReport | None:
    """Learn to balance a pole, and print what happens.

    Args:
        seed: Decides the first policy and all episodes.
        target: Learning ends when the last 64 episodes have this mean return; 500 is the highest.
        episodes: How many training episodes there may be.
        limit_seconds: How long learning may take.
        workers: How many episodes are played at once.
        held_out: How many episodes the first and the last policy are compared by.
        out: Where to print; standard output by default.

    Returns:
        The report; None if the run was interrupted before there was one.

    Raises:
        ConfigError: An option makes no sense.
    """
    show = _Show(out or sys.stdout)
    algorithm = Reinforce(
        seed=seed,
        target=target,
        window=_WINDOW,
        episodes=episodes,
        seconds=limit_seconds,
        held_out=held_out,
        progress=show.progress,
    )
    show.line(f"CartPole-v1 by REINFORCE with a baseline; seed {seed}, {workers} runners")
    show.line(f"until the last {_WINDOW} episodes have a mean return of {target:g}; {LONGEST} is the highest\n")
    trainer = Trainer(algorithm=algorithm, n_workers=workers)
    run = trainer.fit(play_episode)
    if run.interrupted:
        show.interrupted(algorithm.returns)
        return None
    report = CartPoleReport(algorithm.result, run, show.seconds())
    show.report(report, anyio.run(trainer.store.query_spans, report.learning.after.rollout_ids[0], "latest"))
    return report


class _Show(Printer):
    """What there is to see, in the order in which it happens."""

    def progress(self, step: LearningProgress) -> None:
        """One line for each update: the bars below each other are the curve, turned by a quarter."""
        self.line(
            f"{self.seconds():5.1f} s  update {step.update:3d}  {step.episodes:4d} episodes  "
            f"return {step.mean:5.1f} {draw_bar(step.mean, top=LONGEST)}"
        )

    def interrupted(self, returns: Sequence[float]) -> None:
        self.line(f"\nInterrupted after {len(returns)} episodes")
        self.curve(returns)

    def curve(self, returns: Sequence[float]) -> None:
        if not returns:
            return
        self.line()
        title = f"mean return of the last {_CURVE_WINDOW} episodes"
        self.line(draw_curve(returns, window=_CURVE_WINDOW, top=LONGEST, title=title, label="episodes"))

    def report(self, report: CartPoleReport, spans: Sequence[Span]) -> None:
        learning = report.learning
        self.curve(learning.returns)
        self.line("\nOne held-out episode with the last policy:\n")
        self.line(render_span_tree(spans))
        before, after = learning.before, learning.after
        self.line(f"\nHeld-out episodes, {len(after.returns):<3d}              before   after")
        self.line(f"  mean return                     {before.mean:6.1f}  {after.mean:6.1f}")
        self.line(f"  lowest return                   {min(before.returns):6.0f}  {min(after.returns):6.0f}")
        self.line(f"  highest return                  {max(before.returns):6.0f}  {max(after.returns):6.0f}\n")
        reasons = {
            "target": "the target was reached",
            "episodes": "the episodes were used up",
            "seconds": "the time was up",
        }
        self.line(
            f"{len(learning.returns) + learning.failed} episodes, {sum(learning.returns):.0f} steps, "
            f"{learning.updates} updates; {learning.failed} failed; {reasons[learning.stopped_by]}; "
            f"{report.seconds:.1f} s in all"
        )
