"""What `Trainer.dev` adds to a run: a report of each rollout as it ends."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from lightning_actors.errors import LightningError, RolloutCancelled
from lightning_actors.log import get_logger
from lightning_actors.report import render_span_tree
from lightning_actors.runner import Execution
from lightning_actors.trainer.result import RunResult
from lightning_actors.types import AttemptedRollout, Rollout

__all__ = ["DryRun"]

log = get_logger("lightning_actors.trainer")

_LONGEST_TASK = 80
_PACKAGE = str(Path(__file__).parent.parent) + os.sep


class DryRun:
    """Prints each rollout as it ends, and a summary at the end.

    Args:
        out: Where to; standard output by default. On a terminal it is coloured, where rich is installed.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out: TextIO | None = out or sys.stdout  # which is None where a process has no output
        self._terminal = _terminal(self._out)
        self._shown: set[str] = set()

    def conclude(self, result: RunResult) -> RunResult:
        """Print the rollouts that no runner told the end of, and the summary; returns the result."""
        for rollout in result.rollouts:
            if rollout.rollout_id not in self._shown:
                self._print(f"{rollout.rollout_id}  {rollout.status}  {_what_became(rollout)}", "bold yellow")
                self._print(f"  task {_shown(rollout.input)}\n", "")
        self._print(result.summary if result.rollouts else "no tasks ran", "bold")
        return result

    def show(self, execution: Execution) -> None:
        """Print one rollout: the agent's own traceback first, then status, reward, duration and spans."""
        rollout, error = execution.rollout, execution.error
        self._shown.add(rollout.rollout_id)
        status = "cancelled" if isinstance(error, RolloutCancelled) else execution.status
        if error is not None:
            self._print("".join(traceback.format_exception(type(error), error, _own_frames(error))).rstrip(), "red")
        reward = "no reward" if execution.reward is None else f"reward {execution.reward:g}"
        self._print(
            f"{rollout.rollout_id}  {status}  {reward}  {execution.seconds:.3f} s  "
            f"attempt {rollout.attempt.sequence_id}",
            "bold green" if error is None else "bold red",
        )
        self._print(f"  task {_shown(rollout.input)}", "")
        if execution.spans:
            self._print(render_span_tree(execution.spans), "cyan")
        self._print("", "")

    def _print(self, text: str, style: str) -> None:
        """Print a text, as far as the output takes it: the run goes on without one that is closed."""
        if self._out is None:
            return
        text = _encodable(text, self._out)
        try:
            if self._terminal is None:
                print(text, file=self._out)
            else:
                self._terminal.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)
        except (OSError, ValueError) as error:  # a broken pipe, a full disk; a file that was closed
            self._out = None
            log.warning("no_longer_shown", error=repr(error), hint="the run goes on; its result is returned")


def _encodable(text: str, out: TextIO) -> str:
    """The text with a question mark for each character that the output's encoding does not have."""
    encoding: str | None = getattr(out, "encoding", None)
    return text if encoding is None else text.encode(encoding, "replace").decode(encoding)


def _what_became(rollout: Rollout) -> str:
    if isinstance(rollout, AttemptedRollout):
        return f"attempt {rollout.attempt.sequence_id} did not come to its end: {rollout.attempt.status}"
    return "no runner took it"


def _terminal(out: TextIO | None) -> Any:
    """Rich's view of the output, where it is a terminal and rich is installed."""
    if out is None or getattr(out, "closed", False) or not out.isatty():
        return None
    try:
        from rich.console import Console  # noqa: PLC0415 - belongs to an extra
    except ImportError:
        return None
    return Console(file=out)


def _shown(task: object) -> str:
    try:
        text = repr(task)
    except Exception as error:  # noqa: BLE001 - boundary: the task is the user's, and so is its repr
        text = f"<{type(task).__name__}, whose repr raised {type(error).__name__}>"
    return text if len(text) <= _LONGEST_TASK else f"{text[: _LONGEST_TASK - 1]}…"


def _own_frames(error: BaseException) -> TracebackType | None:
    """The error's frames without those of the runner before the agent's own."""
    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        own = own.tb_next
    return own if own is not None or isinstance(error, LightningError) else error.__traceback__
