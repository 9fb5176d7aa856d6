"""The commands, each from a file of its own."""

from __future__ import annotations

import typer

from lightning_actors.cli.cartpole import cartpole
from lightning_actors.cli.demo import demo

__all__ = ["app", "demos"]

app = typer.Typer(
    name="lightning-actors",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich takes longer to import than the help takes to print
    pretty_exceptions_enable=False,
)
"""The command line as an object."""


@app.callback()
def lightning_actors() -> None:
    """Debug, benchmark and improve AI agents."""


demos = typer.Typer(name="demo", rich_markup_mode=None)
"""``demo`` itself, which does something without a command too, and its commands."""

demos.callback(invoke_without_command=True)(demo)
demos.command()(cartpole)
app.add_typer(demos)
