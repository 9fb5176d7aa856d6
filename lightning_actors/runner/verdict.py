"""`Verdict`: what a runner says in the store of how an attempt ended, once and however often the store fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import anyio

from lightning_actors.error_text import describe
from lightning_actors.errors import ActorError, InvalidTransition, RolloutCancelled, RolloutTimeout, RunnerError
from lightning_actors.log import get_logger
from lightning_actors.runner.rig import Rig, is_cancelled
from lightning_actors.store import UNSET
from lightning_actors.store.messages import UpdateAttempt, UpdateRollout
from lightning_actors.types import AttemptedRollout

__all__ = ["Verdict"]

log = get_logger("lightning_actors.runner")

_REPORT_SECONDS: Final = 10.0
_REPORT_AGAIN: Final = (0.05, 0.5)


class Verdict:
    """The word on one attempt.

    Args:
        rig: What the runner works with.
        rollout: What was claimed.
        is_queued: It came from the queue, so that a claim that never began can be undone.

    Attributes:
        error: What was reported to have gone wrong.
        has_begun: The attempt is known to the store as running.
        stop_reason: Why the store has ended the attempt, if it has: then nothing more is said of it.
        is_abandoned: It was, or is being, given up by `abandon`.
    """

    __slots__ = ("_is_queued", "_rig", "_rollout", "_word", "error", "has_begun", "is_abandoned", "stop_reason")

    def __init__(self, rig: Rig, rollout: AttemptedRollout, *, is_queued: bool) -> None:
        self._rig = rig
        self._rollout = rollout
        self._is_queued = is_queued
        self._word: UpdateAttempt | None = None
        self.error: BaseException | None = None
        self.has_begun = False
        self.is_abandoned = False
        self.stop_reason: str | None = None

    @property
    def fell_silent(self) -> bool:
        """Whether the store gave the attempt up for want of a sign of life."""
        return self.stop_reason == "unresponsive"

    def decide(self, error: BaseException | None, notes: Mapping[str, Any]) -> UpdateAttempt | None:
        """What is to be said, and stays so, unless a success comes to be a failure; None where the store knows better.

        Args:
            error: What went wrong, if anything did.
            notes: What is odd about its trace.
        """
        if self.stop_reason is not None and not self.fell_silent:
            return None
        if self._word is None or (error is not None and self.error is None):  # as where its spans were not taken
            self.error = error
            self._word = self._silence() if self.fell_silent else self._judged(error, notes)
        return self._word

    def refused(self, refusal: InvalidTransition) -> None:
        """The store has ended the attempt already."""
        self.stop_reason = self.stop_reason or refusal.before

    async def report(self, error: BaseException | None, notes: Mapping[str, Any]) -> None:
        """Say how it ended; a store that fails once must not cost a result.

        Raises:
            StoreError: The store did not take it. (ActorError where the store is an actor that is gone.)
        """
        word = self.decide(error, notes)
        if word is None:
            return
        for pause in (*_REPORT_AGAIN, None):
            try:
                await self._rig.ask(word)
            except InvalidTransition as refused:
                self.refused(refused)
            except Exception as failure:
                if pause is None or isinstance(failure, ActorError):
                    raise
                log.warning("report_failed", rollout_id=self._rollout.rollout_id, error=describe(failure))
                await self._rig.clock.sleep(pause)
                continue
            return

    async def abandon(self, crash: BaseException | None) -> bool:
        """Say what becomes of an attempt that is not run to its end.

        Args:
            crash: What the runner crashed with, or None for an orderly end.

        Returns:
            Whether it was told how the attempt ended: a report was under way, and got through after all.
        """
        if self.is_abandoned or (self.stop_reason is not None and not self.fell_silent):
            return False
        self.is_abandoned = True
        words = [word for word in (self._word, self._last_word(crash)) if word is not None]
        with anyio.CancelScope(shield=True), self._rig.clock.move_on_after(_REPORT_SECONDS) as scope:
            for word in words:  # where the store refuses the verdict, the attempt must still not stay open
                for pause in (*_REPORT_AGAIN, None):
                    done = await self._say(word)
                    if done is not None:
                        return done and word is self._word
                    if pause is not None:
                        await self._rig.clock.sleep(pause)
        if scope.cancelled_caught:
            log.warning("end_not_reported", rollout_id=self._rollout.rollout_id, seconds=_REPORT_SECONDS)
        return False

    async def _say(self, word: UpdateRollout | UpdateAttempt) -> bool | None:
        """Say this much on the way out.

        Returns:
            Whether it was taken; None where it may be said again.
        """
        try:
            if not (self._is_queued and not self.has_begun and await self._release()):
                await self._rig.store.ask(word)
        except InvalidTransition:
            return False  # it had ended already
        except BaseException as error:  # boundary: the store, on a way out that must go on
            if isinstance(error, anyio.get_cancelled_exc_class()) and is_cancelled():
                raise
            log.warning("end_not_reported", rollout_id=self._rollout.rollout_id, error=describe(error))
            return False if isinstance(error, ActorError) else None  # the store's actor is gone
        return True

    async def _release(self) -> bool:
        """Undo the claim; False where the attempt has begun after all."""
        attempt = self._rollout.attempt
        released = await self._rig.store.release_attempt(attempt.rollout_id, attempt.attempt_id)
        if released:
            log.info("claim_undone", rollout_id=attempt.rollout_id)
        return released

    def _last_word(self, crash: BaseException | None) -> UpdateRollout | UpdateAttempt:
        attempt = self._rollout.attempt
        if self.fell_silent:
            return self._silence()
        if crash is None:
            return UpdateRollout(attempt.rollout_id, status="cancelled")
        metadata = {"reason": "crashed", "error": describe(crash)}
        return UpdateAttempt(attempt.rollout_id, attempt.attempt_id, status="unresponsive", metadata=metadata)

    def _judged(self, error: BaseException | None, notes: Mapping[str, Any]) -> UpdateAttempt:
        attempt = self._rollout.attempt
        if error is None and not notes:
            return UpdateAttempt(attempt.rollout_id, attempt.attempt_id, status="succeeded")
        metadata: dict[str, Any] = {} if error is None else {"error": describe(error)}
        if notes:
            metadata["trace"] = dict(notes)
        status = "succeeded" if error is None else "failed"
        return UpdateAttempt(attempt.rollout_id, attempt.attempt_id, status=status, metadata=metadata or UNSET)

    def _silence(self) -> UpdateAttempt:
        """What the store said of the attempt, for good: spans written since may have made it take that back."""
        attempt = self._rollout.attempt
        metadata = {"reason": "stopped", "error": describe(self.stop_error())}
        return UpdateAttempt(attempt.rollout_id, attempt.attempt_id, status="unresponsive", metadata=metadata)

    def stop_error(self) -> RunnerError:
        """What stands for the end that the store has put to the attempt."""
        rollout_id, reason = self._rollout.rollout_id, self.stop_reason
        config = self._rollout.config
        if reason in {"timeout", "unresponsive"}:
            seconds = config.timeout_seconds if reason == "timeout" else config.unresponsive_seconds
            what = "took longer than" if reason == "timeout" else "gave no sign of life for"
            return RolloutTimeout(f"rollout {rollout_id} {what} {seconds} s", rollout_id=rollout_id, seconds=seconds)
        return RolloutCancelled(f"rollout {rollout_id} was ended by the store: {reason}", rollout_id=rollout_id)
