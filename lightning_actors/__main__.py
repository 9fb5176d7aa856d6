"""``python -m lightning_actors``: the command line."""

from __future__ import annotations

from lightning_actors.cli import main

if __name__ == "__main__":
    main()
