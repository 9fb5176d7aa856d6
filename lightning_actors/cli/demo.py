"""``lightning-actors demo``: a small language model gets better at a real task; its subcommands show other things."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["demo"]

_NOT_IMPROVED = 1
_INTERRUPTED = 130


def demo(
    context: typer.Context,
    *,
    model: Annotated[
        str | None, typer.Option(help="A model at OPENAI_BASE_URL; OPENAI_MODEL by default.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses the held-out countries and the search's draws.")] = 0,
    budget: Annotated[int, typer.Option(min=1, help="Rollouts that the search may use.")] = 240,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the search.")] = 3,
    workers: Annotated[int, typer.Option(min=1, help="Rollouts that run at once.")] = 4,
    held_out: Annotated[int, typer.Option(min=1, help="Countries to judge the prompts by.")] = 48,
    require_improvement: Annotated[
        bool, typer.Option("--require-improvement", help="Exit with 1 unless held-out accuracy went up.")
    ] = False,
) -> None:
    """Improve a prompt for a real language model by search, with no key and no network.

    The model is SmolLM2-135M-Instruct, served in this process; with OPENAI_BASE_URL set it is the one found there.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context, context.invoked_subcommand)
        return
    from lightning_actors.demo import run_demo  # noqa: PLC0415 - the help should not wait for it

    report = run_demo(model=model, seed=seed, budget=budget, rounds=rounds, workers=workers, held_out=held_out)
    if report is None:
        raise typer.Exit(_INTERRUPTED)
    if require_improvement and report.after.exact <= report.before.exact:
        raise typer.Exit(_NOT_IMPROVED)


def _refuse_options(context: typer.Context, command: str) -> None:
    """An option before a subcommand would say nothing to it: better refused than ignored."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            context.fail(f"{option} belongs to the demo without a command: write options of {command} after its name")
