"""What is to happen in one simulated run, drawn from its seed: plain data, so that a failing one can be read."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from lightning_actors.types import AttemptStatus, RolloutConfig

__all__ = [
    "Act",
    "AtOperation",
    "AtTime",
    "AtTurn",
    "Blow",
    "Plan",
    "PlannedFollower",
    "PlannedTask",
    "Script",
    "draw",
]

Act: TypeAlias = Literal[
    "returns",
    "returns nothing",
    "returns nonsense",
    "raises",
    "exits",
    "picks up a cancellation",
    "hangs",
    "swallows cancellation",
    "cancels itself",
    "crashes its runner",
]
ACTS: Final[tuple[Act, ...]] = (
    "returns",
    "returns",
    "returns",
    "returns",
    "returns",
    "returns",
    "raises",
    "raises",
    "raises",
    "hangs",
    "hangs",
    "returns nothing",
    "returns nonsense",
    "exits",
    "picks up a cancellation",
    "swallows cancellation",
    "cancels itself",
    "crashes its runner",
)
What: TypeAlias = Literal[
    "crash runner",
    "crash its runner",
    "crash queue",
    "crash keeper",
    "fail operation",
    "cancel rollout",
    "requeue rollout",
    "run again what has ended",
    "look around",
    "interrupt",
    "interrupt again",
    "cancel scope",
]
Algorithm: TypeAlias = Literal["returns", "raises", "waits for ever"]
Hook: TypeAlias = Literal["start", "trace start", "trace end", "end"]
HOOKS: Final[tuple[Hook, ...]] = ("start", "trace start", "trace end", "end")
OPERATIONS: Final = (
    "DequeueRollout",
    "UpdateAttempt to running",
    "UpdateAttempt to the end",
    "AddManySpans",
    "GetLatestResources",
    "WaitForRollouts",
    "UpdateManyWorkers",
    "ReleaseAttempt",
)


@dataclass(frozen=True)
class Script:
    """What an agent does in one attempt: wait, emit, then act."""

    act: Act
    seconds: float = 0.0
    turns: int = 0


@dataclass(frozen=True)
class PlannedTask:
    """A task: what becomes of each attempt at it (the last stands for all further ones), and when it is enqueued."""

    scripts: tuple[Script, ...]
    config: RolloutConfig
    at: float


@dataclass(frozen=True)
class AtTurn:
    """After so many turns of the event loop."""

    turn: int


@dataclass(frozen=True)
class AtTime:
    """After so many seconds."""

    seconds: float


@dataclass(frozen=True)
class AtOperation:
    """In the very tick of a store operation: the nth of its kind, before or after it is carried out."""

    kind: str
    nth: int
    before: bool


When: TypeAlias = AtTurn | AtTime | AtOperation


@dataclass(frozen=True)
class Blow:
    """Something that goes wrong."""

    when: When
    what: What
    index: int


@dataclass(frozen=True)
class PlannedFollower:
    """Somebody who follows the ends of rollouts.

    Attributes:
        what: To read them, or to learn from them.
        sees: The store itself, or the run's view of it for as long as there is one.
        seconds: How long each takes it.
        cuts: After how many seconds it is cut off, and goes on from its cursor, each time.
        fails_at: Learning from the nth fails.
        feedbacks: How often it is told afterwards what a rollout was worth.
    """

    what: Literal["reads", "learns"]
    sees: Literal["the store", "the run's"]
    seconds: float
    cuts: tuple[float, ...]
    fails_at: int | None
    feedbacks: int


@dataclass(frozen=True)
class Plan:
    """One run."""

    seed: int
    n_workers: int
    tasks: tuple[PlannedTask, ...]
    blows: tuple[Blow, ...]
    algorithm: Algorithm
    patience: float
    waits_for: float
    grace: float
    max_rollouts: int | None
    heartbeat_interval: float
    traced: bool
    bad_hook: tuple[Hook, Literal["raises", "is slow", "hangs"], int] | None
    followers: tuple[PlannedFollower, ...]

    def script(self, task: int, attempt: int) -> Script:
        """What the agent does at this attempt, counted from 1."""
        scripts = self.tasks[task].scripts
        return scripts[min(attempt, len(scripts)) - 1]


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    dice = random.Random(f"plan {seed}")  # noqa: S311 - a reproducible plan
    blows = [_blow(dice) for _ in range(dice.choice([0, 1, 1, 2, 3, 5, 12]))]
    algorithms: list[Algorithm] = ["returns", "returns", "returns", "raises", "waits for ever"]
    algorithm = dice.choice(algorithms)
    if algorithm == "waits for ever":
        end: What = dice.choice(["interrupt", "interrupt again", "cancel scope"])
        blows.append(Blow(AtTime(dice.choice([0.0, 0.5, 5.0, 40.0])), end, 0))
    blows += _reruns(random.Random(f"reruns {seed}"))  # noqa: S311 - a reproducible plan
    blows += _looks(random.Random(f"looks {seed}"))  # noqa: S311 - a reproducible plan
    return Plan(
        seed=seed,
        n_workers=dice.randint(1, 4),
        tasks=tuple(_task(dice) for _ in range(dice.randint(1, 7))),
        blows=tuple(blows),
        algorithm=algorithm,
        patience=dice.choice([0.0, 0.5, 2.0]),
        waits_for=dice.choice([0.0, 1.0, 30.0, 300.0]),
        grace=dice.choice([0.0, 1.0, 10.0]),
        max_rollouts=dice.choice([None, None, None, 1, 3]),
        heartbeat_interval=dice.choice([0.0, 1.0, 10.0]),
        traced=dice.random() < 0.1,
        bad_hook=(dice.choice(HOOKS), dice.choice(["raises", "is slow", "hangs"]), dice.randint(1, 4))
        if dice.random() < 0.2
        else None,
        followers=_followers(random.Random(f"followers {seed}")),  # noqa: S311 - a reproducible plan
    )


def _reruns(dice: random.Random) -> list[Blow]:
    return [
        Blow(AtTime(dice.choice([0.5, 1.0, 2.0, 4.0])), "run again what has ended", dice.randrange(8))
        for _ in range(dice.choice([0, 0, 0, 1, 3]))
    ]


def _looks(dice: random.Random) -> list[Blow]:
    moments: list[When] = [
        AtTurn(dice.randint(1, 150)),
        AtTime(dice.choice([0.0, 0.5, 3.0])),
        AtOperation(dice.choice(OPERATIONS), dice.choice([1, 2]), before=dice.random() < 0.5),
    ]
    return [Blow(when, "look around", 0) for when in dice.sample(moments, dice.choice([0, 0, 1, 3]))]


def _followers(dice: random.Random) -> tuple[PlannedFollower, ...]:
    return tuple(
        PlannedFollower(
            what=dice.choice(["reads", "learns"]),
            sees=dice.choice(["the store", "the run's"]),
            seconds=dice.choice([0.0, 0.0, 0.2, 2.0]),
            cuts=tuple(dice.choice([0.0, 0.5, 1.0, 3.0]) for _ in range(dice.choice([0, 0, 1, 3]))),
            fails_at=dice.choice([None, None, 1, 2]),
            feedbacks=dice.choice([0, 0, 3, 6]),
        )
        for _ in range(dice.choice([0, 0, 0, 1, 2]))
    )


def _task(dice: random.Random) -> PlannedTask:
    kinds: list[AttemptStatus] = ["failed", "timeout", "unresponsive"]
    config = RolloutConfig(
        timeout_seconds=dice.choice([None, None, 0.5, 4.0]),
        unresponsive_seconds=dice.choice([None, None, 3.0]),
        max_attempts=dice.randint(1, 3),
        retry_condition=[kind for kind in kinds if dice.random() < 0.5],
    )
    scripts = tuple(
        Script(dice.choice(ACTS), dice.choice([0.0, 0.0, 0.5, 3.0]), dice.randint(0, 6))
        for _ in range(dice.randint(1, 3))
    )
    return PlannedTask(scripts, config, dice.choice([0.0, 0.0, 0.0, 0.5, 2.0]))


def _blow(dice: random.Random) -> Blow:
    kinds: list[What] = ["crash queue", "crash keeper", "cancel rollout", "requeue rollout", "interrupt"]
    kinds.extend(("interrupt again", "cancel scope", "crash runner", "crash runner", "crash runner"))
    match dice.randrange(4):
        case 0:
            when: When = AtTurn(dice.randint(1, 150))
        case 1:
            when = AtTime(dice.choice([0.0, 0.3, 0.5, 1.0, 3.0, 4.0]))
        case _:
            nth = dice.choice([1, 1, 1, 2, 2, 3, 5])
            when = AtOperation(dice.choice(OPERATIONS), nth, before=dice.random() < 0.5)
            kinds.extend("crash its runner" for _ in range(12))
            if when.before and when.kind != "ReleaseAttempt":  # a store in memory that is undoing a claim cannot fail
                kinds.extend("fail operation" for _ in range(12))
    return Blow(when, dice.choice(kinds), dice.randrange(8))
