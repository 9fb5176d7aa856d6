"""``lightning-actors runner``: runners of one agent that work for a store elsewhere."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["runner"]

_INTERRUPTED = 130


def runner(
    *,
    agent: Annotated[str, typer.Option(help="What they run: package.module:agent, from the working directory.")],
    store: Annotated[
        str, typer.Option(envvar="LIGHTNING_ACTORS_STORE", help="Address of the store.")
    ] = "http://localhost:4747",
    n: Annotated[int, typer.Option("-n", "--workers", min=1, help="How many rollouts run at once.")] = 1,
    token: Annotated[
        str | None, typer.Option(envvar="LIGHTNING_ACTORS_TOKEN", help="What the store wants.", show_default=False)
    ] = None,
    tracer: Annotated[str, typer.Option(help="What records rollouts: otel, dummy, or package.module:Tracer.")] = "otel",
    name: Annotated[
        str | None, typer.Option(help="What its workers are called in the store; host and process by default.")
    ] = None,
    max_rollouts: Annotated[int | None, typer.Option(min=1, help="Rollouts that each worker takes at most.")] = None,
    grace: Annotated[float, typer.Option(min=0, help="Seconds that rollouts under way have at a stop.")] = 10.0,
    lease: Annotated[
        float, typer.Option(min=0.5, help="Seconds of silence after which others get the rollouts that they hold.")
    ] = 30.0,
    max_threads: Annotated[int, typer.Option(min=1, help="How many sync agents may run at once.")] = 256,
    log_level: Annotated[str, typer.Option(help="Least level that is logged.")] = "INFO",
    log_json: Annotated[bool, typer.Option("--log-json", help="Log JSON, one object a line.")] = False,
) -> None:
    """Run what a store has in its queue, and what comes: Ctrl-C and SIGTERM drain, a second one cancels."""
    from lightning_actors.cli.serving import run_runners  # noqa: PLC0415 - the help should not wait for it
    from lightning_actors.log import configure_logger  # noqa: PLC0415 - the help should not wait for it

    configure_logger(log_level, json=log_json)
    has_drained = run_runners(
        agent,
        store=store,
        token=token,
        tracer=tracer,
        n=n,
        name=name,
        max_rollouts=max_rollouts,
        grace=grace,
        lease=lease,
        max_threads=max_threads,
    )
    if not has_drained:
        raise typer.Exit(_INTERRUPTED)
