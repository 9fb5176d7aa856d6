"""The environment in which Agent Lightning is measured: apart from ours, made once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["PEER", "PeerUnavailable", "ensure_peer", "installed_versions"]

PEER: Final = "agentlightning==0.3.0"
_NAME, _VERSION = PEER.split("==")
_BESIDE: Final = ("opentelemetry-sdk==1.39.1", "opentelemetry-exporter-otlp==1.39.1")
"""Releases of its own time: with later exporters each rollout of its trainer waits 7 s for an export that fails."""

_ASK: Final = f"""
import importlib.metadata, json
print(json.dumps({{name: importlib.metadata.version(name) for name in ({_NAME!r}, "opentelemetry-sdk")}}))
"""


class PeerUnavailable(RuntimeError):
    """Agent Lightning cannot be measured."""


def installed_versions(python: Path) -> Mapping[str, str]:
    """The versions of Agent Lightning and OpenTelemetry that an interpreter has; none if it lacks them, or is none."""
    try:
        done = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=False)  # noqa: S603 - our lines
    except OSError:
        return {}
    return json.loads(done.stdout) if done.returncode == 0 else {}


def ensure_peer(folder: Path, python: Path | None = None) -> Path:
    """An interpreter that has Agent Lightning.

    Args:
        folder: Where the environment is, or is made with ``venv`` and ``pip``.
        python: An interpreter to use instead; nothing is installed there.

    Raises:
        PeerUnavailable: It could not be installed, or the given interpreter has another version or none.
    """
    made = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    found = made if python is None else python.absolute()
    version = installed_versions(found).get(_NAME)
    if version == _VERSION:
        return found
    if python is not None:
        has = "does not have it" if version is None else f"has {version}"
        raise PeerUnavailable(f"{PEER} is to be measured, and {python} {has}: install it there, or say only --peer")
    _run([sys.executable, "-m", "venv", str(folder)])
    _run([str(found), "-m", "pip", "install", "--quiet", PEER, *_BESIDE])
    return found


def _run(command: list[str]) -> None:
    print(" ".join(command), file=sys.stderr, flush=True)
    if subprocess.run(command, check=False).returncode:  # noqa: S603 - venv and pip
        raise PeerUnavailable(f"{PEER} could not be installed: `{' '.join(command)}` failed")
