"""On what the figures were taken."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import lightning_actors

__all__ = ["machine_facts"]

_PACKAGES = ("anyio", "opentelemetry-sdk", "pydantic", "structlog", "trio", "uvloop")


def machine_facts() -> dict[str, object]:
    """Python, system, cores and versions, as JSON values."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": {
            "lightning-actors": lightning_actors.__version__,
            **{name: found for name in _PACKAGES if (found := _version(name)) is not None},
        },
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
