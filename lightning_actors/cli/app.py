"""The commands, each from a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lightning_actors.cli.cartpole import cartpole
from lightning_actors.cli.demo import demo
from lightning_actors.cli.explain import explain
from lightning_actors.cli.runner import runner
from lightning_actors.cli.store import store
from lightning_actors.errors import ConfigError
from lightning_actors.log import configure_logger, parse_levels

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
def lightning_actors(
    *,
    log_level: Annotated[
        str | None,
        typer.Option(help="Show events of this level and above, of parts as in INFO,store=DEBUG.", show_default=False),
    ] = None,
    log_file: Annotated[
        Path | None, typer.Option(help="Add events to this file instead of showing them.", show_default=False)
    ] = None,
) -> None:
    """Debug, benchmark and improve AI agents."""
    if log_level is None and log_file is None:
        return
    level, submodule_levels = parse_levels("INFO" if log_level is None else log_level)
    try:
        configure_logger(level, submodule_levels=submodule_levels, files=log_file, console=log_file is None)
    except OSError as error:
        raise ConfigError(f"--log-file: {error}") from None


demos = typer.Typer(name="demo", rich_markup_mode=None)
"""``demo`` itself, which does something without a command too, and its commands."""

demos.callback(invoke_without_command=True)(demo)
demos.command()(cartpole)
app.add_typer(demos)
app.command()(store)
app.command()(runner)
app.command()(explain)
