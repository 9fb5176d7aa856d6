"""Lets these tests import `benchmarks`, which is no part of the installed package."""

from __future__ import annotations

import sys
from pathlib import Path

# Last, so that the package under test stays the installed one where there is one.
sys.path.append(str(Path(__file__).parents[2]))
