"""``lightning-actors explain``: why a rollout in a store elsewhere has not ended."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["explain"]


def explain(
    rollout_id: Annotated[str, typer.Argument(help="The rollout.", metavar="ID")],
    *,
    store: Annotated[
        str, typer.Option(envvar="LIGHTNING_ACTORS_STORE", help="Address of the store.")
    ] = "http://localhost:4747",
    token: Annotated[
        str | None, typer.Option(envvar="LIGHTNING_ACTORS_TOKEN", help="What the store wants.", show_default=False)
    ] = None,
) -> None:
    """Say why a rollout has not ended: its place in the queue, who asks for work, signs of life, errors."""
    from lightning_actors.cli.serving import explain_rollout  # noqa: PLC0415 - the help should not wait for it

    typer.echo(explain_rollout(rollout_id, store=store, token=token))
