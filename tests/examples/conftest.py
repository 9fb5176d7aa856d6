"""What several tests of examples share."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_place import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A directory with agents, where the benchmark is run."""
    return Place(tmp_path)
