"""``lightning-actors store``: a store that algorithms and runners in other processes share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["store"]


def store(
    *,
    host: Annotated[str, typer.Option(help="Address to listen at; this machine only by default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 4747,
    db: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="File to keep it in, which survives a restart; in memory without."),
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="LIGHTNING_ACTORS_TOKEN", help="What clients must show.", show_default=False)
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen at other addresses than this machine's own without a token.")
    ] = False,
    cors_allow_origin: Annotated[
        list[str] | None, typer.Option(help="Origin whose pages may use it from a browser; may be given again.")
    ] = None,
    ssl_certfile: Annotated[Path | None, typer.Option(help="File of the certificate, for HTTPS.")] = None,
    ssl_keyfile: Annotated[Path | None, typer.Option(help="File of its key, if that is another.")] = None,
    ssl_keyfile_password: Annotated[str | None, typer.Option(help="Password of the key.", show_default=False)] = None,
    grace: Annotated[float, typer.Option(min=0, help="Seconds that requests under way have at a stop.")] = 5.0,
    log_level: Annotated[str, typer.Option(help="Least level that is logged.")] = "INFO",
    log_json: Annotated[bool, typer.Option("--log-json", help="Log JSON, one object a line.")] = False,
) -> None:
    """Serve a store until told to stop: Ctrl-C and SIGTERM drain, a second one ends at once."""
    from lightning_actors.cli.serving import serve_store  # noqa: PLC0415 - the help should not wait for it
    from lightning_actors.log import configure_logger  # noqa: PLC0415 - the help should not wait for it

    configure_logger(log_level, json=log_json)
    serve_store(
        db,
        host=host,
        port=port,
        token=token,
        insecure=insecure,
        cors_allow_origins=cors_allow_origin,
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
        ssl_keyfile_password=ssl_keyfile_password,
        grace_seconds=grace,
    )
