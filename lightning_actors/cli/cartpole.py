"""``lightning-actors demo cartpole``: a policy learns to balance a pole."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["cartpole"]

_TARGET_MISSED = 1
_INTERRUPTED = 130


def cartpole(
    *,
    seed: Annotated[int, typer.Option(min=0, help="Decides the first policy and all episodes.")] = 0,
    target: Annotated[
        float, typer.Option(help="Mean return of the last 64 episodes to reach; 500 is the highest.")
    ] = 450,
    episodes: Annotated[int, typer.Option(min=1, help="Training episodes at most.")] = 2000,
    seconds: Annotated[float, typer.Option(min=0, help="Seconds of learning at most.")] = 60,
    workers: Annotated[int, typer.Option(min=1, help="Episodes that are played at once.")] = 8,
    held_out: Annotated[int, typer.Option(min=1, help="Episodes to compare the first and the last policy by.")] = 20,
    require_target: Annotated[
        bool, typer.Option("--require-target", help="Exit with 1 unless the target was reached.")
    ] = False,
) -> None:
    """Learn CartPole-v1 by REINFORCE with a baseline, in seconds; needs the extra cartpole."""
    from lightning_actors.demo.cartpole import run_cartpole  # noqa: PLC0415 - the help should not wait for it

    report = run_cartpole(
        seed=seed, target=target, episodes=episodes, limit_seconds=seconds, workers=workers, held_out=held_out
    )
    if report is None:
        raise typer.Exit(_INTERRUPTED)
    if require_target and report.learning.stopped_by != "target":
        raise typer.Exit(_TARGET_MISSED)
