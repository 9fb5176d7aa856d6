"""The store's operations, written once: one message each, its reply type beside it.

A method of `LightningStore`, a handler, a route of a server and a method of a client all follow from these classes.
Arguments are checked when a message is built. Where a field has the same name as one of `types.Rollout` or
`types.Attempt`, it means the same.

Source: operations, arguments and defaults are those of Agent Lightning 0.3, except ReleaseAttempt, UpdateManyWorkers,
NextCompletion, GetCompletionCursor, ExplainRollout, RenewLeases, PublishResources, BeginRun, LeaveRun, EndRun,
``StartRollout.begun``, ``AddResources.publish``, ``UpdateResources.publish``, the ``key`` of what is
enqueued and the ``lease`` of what is claimed, which are ours.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, field, replace
from typing import Any, Final, Literal, Self, TypeVar, cast, get_args

from opentelemetry.sdk.trace import ReadableSpan
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

from lightning_actors.actors.message import Message
from lightning_actors.store.many import Many
from lightning_actors.store.unset import UNSET, Unset
from lightning_actors.types import (
    Attempt,
    AttemptedRollout,
    AttemptStatus,
    Completion,
    EnqueueRolloutRequest,
    Explanation,
    FilterLogic,
    Lease,
    NamedResources,
    PaginatedResult,
    ResourcesUpdate,
    Rollout,
    RolloutConfig,
    RolloutMode,
    RolloutStatus,
    RunRecord,
    SortOrder,
    Span,
    TaskInput,
    Worker,
    WorkerStatus,
)

__all__ = [
    "AddManySpans",
    "AddOtelSpan",
    "AddResources",
    "AddSpan",
    "BeginRun",
    "DequeueManyRollouts",
    "DequeueRollout",
    "EndRun",
    "EnqueueManyRollouts",
    "EnqueueRollout",
    "ExplainRollout",
    "GetCompletionCursor",
    "GetLatestAttempt",
    "GetLatestResources",
    "GetManySpanSequenceIds",
    "GetNextSpanSequenceId",
    "GetResourcesById",
    "GetRolloutById",
    "GetWorkerById",
    "LeaveRun",
    "LightningStoreStatistics",
    "NextCompletion",
    "PublishResources",
    "QueryAttempts",
    "QueryResources",
    "QueryRollouts",
    "QuerySpans",
    "QueryWorkers",
    "ReleaseAttempt",
    "RenewLeases",
    "StartAttempt",
    "StartRollout",
    "Statistics",
    "StoreMessage",
    "StoreRead",
    "StoreWait",
    "UpdateAttempt",
    "UpdateManyWorkers",
    "UpdateResources",
    "UpdateRollout",
    "UpdateWorker",
    "WaitForRollouts",
]

MOST_RECORDS: Final = 2**53
"""More than any store holds, and no more than every home, and JSON everywhere, can count to."""

R_co = TypeVar("R_co", covariant=True)

_CONFIG = ConfigDict(arbitrary_types_allowed=True, extra="forbid", ser_json_inf_nan="constants")


class StoreMessage(Message[R_co]):
    """An operation of the store; what handles this type handles them all."""

    __slots__ = ()

    @classmethod
    def reply_type(cls) -> Any:
        """The type of the reply."""
        return get_args(cls.__orig_bases__[0])[0]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType, reportUnknownVariableType]  # kept by Generic at run time


class StoreRead(StoreMessage[R_co]):
    """An operation that only reads: asking for it again changes nothing."""

    __slots__ = ()


class StoreWait(StoreRead[R_co]):
    """An operation that waits until it can be answered in full, or for its ``timeout``."""

    __slots__ = ()

    timeout: float | None

    def with_timeout(self, seconds: float | None) -> Self:
        """The same message that waits so long; None for no limit, 0 for not at all."""
        copy: Self = replace(cast("Any", self), timeout=seconds)
        return copy


class LightningStoreStatistics(TypedDict, total=False):
    """Counts, uptime in seconds, and sizes in bytes where the store keeps spans in memory.

    ``unfiled_spans`` are those that a server was sent and could give to no attempt.
    """

    name: str
    total_rollouts: int
    total_attempts: int
    total_spans: int
    total_resources: int
    total_workers: int
    unfiled_spans: int
    uptime: float
    total_span_bytes: int
    eviction_threshold_bytes: int
    safe_threshold_bytes: int
    memory_capacity_bytes: int


@dataclass(frozen=True, slots=True, config=_CONFIG)
class Statistics(StoreRead[LightningStoreStatistics]):
    """Count what the store holds."""


@dataclass(frozen=True, slots=True, config=_CONFIG)
class StartRollout(StoreMessage[AttemptedRollout]):
    """Record a task and claim it at once: its first attempt is made and the queue never sees it.

    With ``begun`` the attempt is running from the start, as if its worker had said so. Raises ResourcesNotFound for an
    unknown ``resources_id``; None takes the latest. With a ``lease`` the claim holds for so long, see DequeueRollout.
    """

    input: TaskInput
    mode: RolloutMode | None = None
    resources_id: str | None = None
    config: RolloutConfig | None = None
    metadata: dict[str, Any] | None = None
    worker_id: str | None = None
    begun: bool = False
    lease: Lease | None = None


@dataclass(frozen=True, slots=True, config=_CONFIG)
class EnqueueRollout(StoreMessage[Rollout]):
    """Record a task and put its rollout at the end of the queue.

    The latest resources are looked up now, unless ``resources_id`` names others (ResourcesNotFound if unknown).

    A ``key`` makes it safe to ask again: where a rollout was recorded under this key before, that one is answered, as
    it is now and with its latest attempt where it has one, and nothing changes, whatever else is given.
    """

    input: TaskInput
    mode: RolloutMode | None = None
    resources_id: str | None = None
    config: RolloutConfig | None = None
    metadata: dict[str, Any] | None = None
    key: str | None = Field(default=None, min_length=1)


@dataclass(frozen=True, slots=True, config=_CONFIG)
class EnqueueManyRollouts(StoreMessage[list[Rollout]]):
    """Record many tasks at once; the rollouts come back in order. One bad request, and none is recorded.

    Requests with the key of a rollout that is known, or of one another, answer the same rollout.
    """

    requests: Many[EnqueueRolloutRequest]


@dataclass(frozen=True, slots=True, config=_CONFIG)
class DequeueRollout(StoreMessage[AttemptedRollout | None]):
    """Claim the rollout that has waited longest, without waiting; None when the queue is empty.

    A claim under a ``lease`` holds for its seconds, and longer if its holder renews it (RenewLeases). Where it lapses,
    an attempt that has not begun is undone, as by ReleaseAttempt, and one that has becomes unresponsive; the retry rule
    decides what follows. Without a lease a claim holds until it is ended, released, or reaches a deadline.
    """

    worker_id: str | None = None
    lease: Lease | None = None


@dataclass(frozen=True, slots=True, config=_CONFIG)
class DequeueManyRollouts(StoreMessage[list[AttemptedRollout]]):
    """Claim up to ``limit`` rollouts, those that have waited longest first; the worker is linked to the last.

    Each is held under a lease of its own, where one is given.
    """

    _: KW_ONLY
    limit: int = Field(default=1, le=MOST_RECORDS)
    worker_id: str | None = None
    lease: Lease | None = None


@dataclass(frozen=True, slots=True, config=_CONFIG)
class RenewLeases(StoreMessage[list[str]]):
    """Prolong a holder's leases: each holds for its seconds from now on.

    ``attempt_ids`` are those at which the holder is; it is answered which of them it does not hold (any more), and
    should stop those. A lease that is not named lapses in its time: that of a claim that its holder never heard of.
    None prolongs all. The runs that the holder is at (BeginRun) are prolonged too.
    """

    holder: str
    attempt_ids: Many[str] | None = None


@dataclass(frozen=True, slots=True, config=_CONFIG)
class StartAttempt(StoreMessage[AttemptedRollout]):
    """Begin a new attempt by hand, whatever ``max_attempts`` says; an open one is given up for it.

    Raises RolloutNotFound, and InvalidTransition for a rollout that has ended: put it back into the queue first.
    """

    rollout_id: str
    worker_id: str | None = None


@dataclass(frozen=True, slots=True, config=_CONFIG)
class ReleaseAttempt(StoreMessage[bool]):
    """Undo a claim that never began: the attempt is not counted and its rollout goes to the head of the queue.

    Whoever watches the attempt is told to stop.

    Answers False, and changes nothing, where the attempt has begun, has ended or is gone.
    """

    rollout_id: str
    attempt_id: str


@dataclass(frozen=True, slots=True, config=_CONFIG)
class UpdateRollout(StoreMessage[Rollout]):
    """Change what is given of a rollout and leave the rest.

    ``status`` may end a rollout (its open attempt ends with it and is stopped) or put it back into the queue, also
    when it had ended. Raises RolloutNotFound, ResourcesNotFound, and InvalidTransition for any other change of an
    ended rollout's status.
    """

    rollout_id: str
    input: TaskInput | Unset = field(default=UNSET)
    mode: RolloutMode | Unset | None = UNSET
    resources_id: str | Unset | None = UNSET
    status: RolloutStatus | Unset = UNSET
    config: RolloutConfig | Unset = UNSET
    metadata: dict[str, Any] | Unset | None = UNSET


@dataclass(frozen=True, slots=True, config=_CONFIG)
class UpdateAttempt(StoreMessage[Attempt]):
    """Change what is given of an attempt; a new status of the latest attempt decides its rollout's.

    ``attempt_id`` may be "latest". Raises RolloutNotFound, AttemptNotFound, and InvalidTransition where the attempt
    has already ended otherwise or a newer one exists.
    """

    rollout_id: str
    attempt_id: str
    status: AttemptStatus | Unset = UNSET
    worker_id: str | Unset = UNSET
    last_heartbeat_time: float | Unset = UNSET
    metadata: dict[str, Any] | Unset = UNSET


@dataclass(frozen=True, slots=True, config=_CONFIG)
class QueryRollouts(StoreRead[PaginatedResult[Rollout]]):
    """Rollouts by status and id, each with its latest attempt where it has one; oldest first unless sorted.

    ``limit`` -1 means all. ``status`` and ``rollout_ids`` are older names of ``status_in`` and ``rollout_id_in``.
    Raises ValueError for a ``sort_by`` that is no field.
    """

    _: KW_ONLY
    status_in: Many[RolloutStatus] | None = None
    rollout_id_in: Many[str] | None = None
    rollout_id_contains: str | None = None
    filter_logic: FilterLogic = "and"
    sort_by: str | None = None
    sort_order: SortOrder = "asc"
    limit: int = Field(default=-1, ge=-1, le=MOST_RECORDS)
    offset: int = Field(default=0, ge=0, le=MOST_RECORDS)
    status: Many[RolloutStatus] | None = None
    rollout_ids: Many[str] | None = None


@dataclass(frozen=True, slots=True, config=_CONFIG)
class QueryAttempts(StoreRead[PaginatedResult[Attempt]]):
    """The attempts at a rollout, first one first; an empty page for an unknown rollout."""

    rollout_id: str
    _: KW_ONLY
    sort_by: str | None = "sequence_id"
    sort_order: SortOrder = "asc"
    limit: int = Field(default=-1, ge=-1, le=MOST_RECORDS)
    offset: int = Field(default=0, ge=0, le=MOST_RECORDS)


@dataclass(frozen=True, slots=True, config=_CONFIG)
class GetRolloutById(StoreRead[Rollout | None]):
    """One rollout, with its latest attempt where it has one; None if unknown."""

    rollout_id: str


@dataclass(frozen=True, slots=True, config=_CONFIG)
class GetLatestAttempt(StoreRead[Attempt | None]):
    """The newest attempt at a rollout; None if there is none."""

    rollout_id: str


@dataclass(frozen=True, slots=True, config=_CONFIG)
class QueryResources(StoreRead[PaginatedResult[ResourcesUpdate]]):
    """Sets of resources, oldest first unless sorted."""

    _: KW_ONLY
    resources_id: str | None = None
    resources_id_contains: str | None = None
    sort_by: str | None = None
    sort_order: SortOrder = "asc"
    limit: int = Field(default=-1, ge=-1, le=MOST_RECORDS)
    offset: int = Field(default=0, ge=0, le=MOST_RECORDS)


@dataclass(frozen=True, slots=True, config=_CONFIG)
class GetResourcesById(StoreRead[ResourcesUpdate | None]):
    """One set of resources; None if unknown."""

    resources_id: str


@dataclass(frozen=True, slots=True, config=_CONFIG)
class GetLatestResources(StoreRead[ResourcesUpdate | None]):
    """The resources that a rollout gets when it names none; None while there are none."""


@dataclass(frozen=True, slots=True, config=_CONFIG)
class AddResources(StoreMessage[ResourcesUpdate]):
    """Store resources under a new id, version 1; they become the latest unless ``publish`` is False."""

    resources: NamedResources
    _: KW_ONLY
    publish: bool = True


@dataclass(frozen=True, slots=True, config=_CONFIG)
class PublishResources(StoreMessage[ResourcesUpdate]):
    """Make these resources the latest, beside those of other names, which stay; the reply is what is the latest then.

    Nothing that is stored changes, so an id goes on saying what a rollout ran with. A set that the store has already is
    made the latest as it is, however often; its id follows from what is in it.

    Where there are no latest resources yet, these stand beside ``initial``. With ``over``, an id, they are published
    only if that is still the latest, so that of several that publish at once none overlooks another.
    """

    resources: NamedResources
    _: KW_ONLY
    initial: NamedResources | None = None
    over: str | None = None


@dataclass(frozen=True, slots=True, config=_CONFIG)
class UpdateResources(StoreMessage[ResourcesUpdate]):
    """Replace the resources under an id, one version up, or make that id.

    They become the latest unless ``publish`` is False.
    """

    resources_id: str
    resources: NamedResources
    _: KW_ONLY
    publish: bool = True


@dataclass(frozen=True, slots=True, config=_CONFIG)
class AddSpan(StoreMessage[Span | None]):
    """Store a span; None if this attempt already has one with its span id.

    A ``sequence_id`` of 0 is replaced by the rollout's next. A span is its attempt's sign of life; the first one
    makes it running. Raises RolloutNotFound, AttemptNotFound.
    """

    span: Span


@dataclass(frozen=True, slots=True, config=_CONFIG)
class AddManySpans(StoreMessage[list[Span]]):
    """Store spans, all or none; answers those that were new, in order. Raises RolloutNotFound, AttemptNotFound."""

    spans: Many[Span]


@dataclass(frozen=True, slots=True, config=_CONFIG)
class AddOtelSpan(StoreMessage[Span | None]):
    """Store a span as OpenTelemetry's SDK gives it; like AddSpan in all else."""

    rollout_id: str
    attempt_id: str
    readable_span: ReadableSpan
    sequence_id: int | None = None


@dataclass(frozen=True, slots=True, config=_CONFIG)
class GetNextSpanSequenceId(StoreMessage[int]):
    """Take the rollout's next sequence id, from 1; the count is the rollout's, whichever the attempt.

    Raises RolloutNotFound, AttemptNotFound.
    """

    rollout_id: str
    attempt_id: str


@dataclass(frozen=True, slots=True, config=_CONFIG)
class GetManySpanSequenceIds(StoreMessage[list[int]]):
    """Take a sequence id for each (rollout id, attempt id), in order. Raises RolloutNotFound, AttemptNotFound."""

    rollout_attempt_ids: Many[tuple[str, str]]


@dataclass(frozen=True, slots=True, config=_CONFIG)
class QuerySpans(StoreRead[PaginatedResult[Span]]):
    """The spans of a rollout, or of one attempt ("latest" for the newest), by sequence id unless sorted.

    Raises SpansEvicted where some of them were dropped to save memory.
    """

    rollout_id: str
    attempt_id: str | Literal["latest"] | None = None  # noqa: PYI051 - says what may stand here
    _: KW_ONLY
    trace_id: str | None = None
    trace_id_contains: str | None = None
    span_id: str | None = None
    span_id_contains: str | None = None
    parent_id: str | None = None
    parent_id_contains: str | None = None
    name: str | None = None
    name_contains: str | None = None
    filter_logic: FilterLogic = "and"
    limit: int = Field(default=-1, ge=-1, le=MOST_RECORDS)
    offset: int = Field(default=0, ge=0, le=MOST_RECORDS)
    sort_by: str | None = "sequence_id"
    sort_order: SortOrder = "asc"


@dataclass(frozen=True, slots=True, config=_CONFIG)
class WaitForRollouts(StoreWait[list[Rollout]]):
    """Wait until all these rollouts have ended, or for ``timeout`` seconds (None: no limit; 0: do not wait).

    Answers those that have ended, in the order asked for, each once. Raises RolloutNotFound.
    """

    _: KW_ONLY
    rollout_ids: Many[str]
    timeout: float | None = Field(default=None, ge=-math.inf)  # anything but NaN


@dataclass(frozen=True, slots=True, config=_CONFIG)
class NextCompletion(StoreWait[Completion | None]):
    """Wait for the rollout that ended next after this cursor, or for ``timeout`` seconds (None: no limit).

    ``after`` None stands before all; ``timeout`` 0 does not wait. Rollouts come in the order in which they ended, those
    of ``step`` included; one that is run again stands where it ended last. Answers None where the time was up. Raises
    ValueError for a cursor that is none of this store.
    """

    after: str | None = None
    _: KW_ONLY
    timeout: float | None = Field(default=None, ge=-math.inf)  # anything but NaN


@dataclass(frozen=True, slots=True, config=_CONFIG)
class GetCompletionCursor(StoreRead[str]):
    """The cursor that stands after the newest completion: reading from there gives what ends from now on."""


@dataclass(frozen=True, slots=True, config=_CONFIG)
class ExplainRollout(StoreRead[Explanation]):
    """Why a rollout has not ended: its place in the queue, who asks for work, signs of life, attempts and errors.

    ``print(await store.explain_rollout(rollout_id))`` says it in a few sentences. Raises RolloutNotFound.
    """

    rollout_id: str


@dataclass(frozen=True, slots=True, config=_CONFIG)
class QueryWorkers(StoreRead[PaginatedResult[Worker]]):
    """Workers by status and id, in the order in which they were first seen unless sorted."""

    _: KW_ONLY
    status_in: Many[WorkerStatus] | None = None
    worker_id_contains: str | None = None
    filter_logic: FilterLogic = "and"
    sort_by: str | None = None
    sort_order: SortOrder = "asc"
    limit: int = Field(default=-1, ge=-1, le=MOST_RECORDS)
    offset: int = Field(default=0, ge=0, le=MOST_RECORDS)


@dataclass(frozen=True, slots=True, config=_CONFIG)
class GetWorkerById(StoreRead[Worker | None]):
    """One worker; None if it was never seen."""

    worker_id: str


@dataclass(frozen=True, slots=True, config=_CONFIG)
class UpdateWorker(StoreMessage[Worker]):
    """A worker's heartbeat; it becomes known if it was not. Its status does not change."""

    worker_id: str
    heartbeat_stats: dict[str, Any] | Unset = UNSET


@dataclass(frozen=True, slots=True, config=_CONFIG)
class UpdateManyWorkers(StoreMessage[None]):
    """The heartbeat of a whole pool; ``attempts`` (rollout id, attempt id) are those it is running, alive with it.

    An attempt that is not running, or not the latest, is passed over: the pool may not have heard of it yet.
    """

    worker_ids: Many[str]
    heartbeat_stats: dict[str, Any] | Unset = UNSET
    attempts: Many[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, config=_CONFIG)
class BeginRun(StoreMessage[RunRecord]):
    """Begin a run of an algorithm, or go on with one that was interrupted.

    Runs of one ``name`` and ``fingerprint`` do the same. The oldest of them that has not come to its end, and that
    nobody holds, is gone on with: its id is the same as before, its turn one more. Where all are held by the process of
    the store, or by the lease's own holder, another is begun. Raises RunHeld where one is held elsewhere under a lease
    that has not lapsed. With ``anew`` another is begun at once, and those that nobody holds are forgotten.

    With a ``lease`` the run is held for so long, see DequeueRollout; without, until it is left or ended, or the store
    is opened again.
    """

    name: str
    fingerprint: str
    lease: Lease | None = None
    _: KW_ONLY
    anew: bool = False


@dataclass(frozen=True, slots=True, config=_CONFIG)
class LeaveRun(StoreMessage[bool]):
    """Let go of a run that has not come to its end: whoever begins it next goes on with it.

    Answers False, and changes nothing, where it has ended or somebody else has gone on with it since this ``turn``.
    """

    run_id: str
    turn: int


@dataclass(frozen=True, slots=True, config=_CONFIG)
class EndRun(StoreMessage[bool]):
    """Note that a run has come to its end: it is not gone on with any more.

    Answers False, and changes nothing, where it has ended or somebody else has gone on with it since this ``turn``.
    """

    run_id: str
    turn: int
