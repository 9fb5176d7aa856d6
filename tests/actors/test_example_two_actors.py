"""The example runs and says what it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lightning_actors

ROOT = Path(__file__).parents[2]
PACKAGE = str(Path(lightning_actors.__file__).parents[1])


def test_the_two_actors_of_the_example_work_together():
    path = ROOT / "examples" / "two_actors.py"
    done = subprocess.run(  # noqa: S603  # our own example
        [sys.executable, str(path)], cwd=ROOT, env={"PYTHONPATH": PACKAGE}, capture_output=True, text=True, check=True
    )
    said = [line for line in done.stdout.splitlines() if "[warning" not in line]
    assert said == [
        "ring!",
        "the till holds 60.0 then 110.0",
        "a new till holds 1.0 after 1 restart",
    ]
    assert len(path.read_text().splitlines()) < 60
