"""What several tests of examples share."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from benchmark_place import Place

PROGRAM: Final = Path(__file__).parents[2] / "examples" / "benchmark_agent.py"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A directory with agents, where the benchmark is run."""
    return Place(tmp_path, PROGRAM)
