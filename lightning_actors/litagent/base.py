"""`LitAgent`: what a runner runs.

```
runner ─┬─ training_rollout[_async]     mode "train"      ─┬─▶ rollout[_async]
        └─ validation_rollout[_async]   any other mode    ─┘
```

Source: names and the division into entries are those of Agent Lightning 0.3.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Self, TypeVar, cast

from lightning_actors.errors import ConfigError, InvalidAgent
from lightning_actors.types import NamedResources, Rollout, RolloutRawResult

if TYPE_CHECKING:  # nothing of it is needed but the type
    from lightning_actors.tracer import Tracer

__all__ = ["LitAgent"]

T_contra = TypeVar("T_contra", contravariant=True)

_SYNC: Final = ("rollout", "training_rollout", "validation_rollout")
_ASYNC: Final = ("rollout_async", "training_rollout_async", "validation_rollout_async")

_executing: ContextVar[tuple[LitAgent[Any], Any] | None] = ContextVar("lightning_actors_executing", default=None)
"""The agent of the current rollout and the runner it runs on."""


class LitAgent(Generic[T_contra]):
    """Base of all agents: write ``rollout_async``, or ``rollout`` for code that blocks.

    One agent object serves every runner at once, so a rollout must not keep its state on ``self``. A subclass need not
    call ``super().__init__()``. The variants ``training_rollout[_async]`` and ``validation_rollout[_async]`` may be
    written too, where an agent behaves differently while it learns; both call ``rollout[_async]`` otherwise.

    Args:
        trained_agents: Kept for algorithms that train some of several agents: a pattern on their names.
    """

    trained_agents: str | None = None
    _trainer_ref: weakref.ref[Any] | None = None
    _runner_ref: weakref.ref[Any] | None = None
    _entries: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, *, trained_agents: str | None = None) -> None:
        self.trained_agents = trained_agents

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Note which entries the subclass writes, and refuse those that could never work."""
        super().__init_subclass__(**kwargs)
        cls._entries = frozenset(
            name for name in (*_SYNC, *_ASYNC) if getattr(cls, name) is not getattr(LitAgent, name)
        )
        for name in cls._entries:
            _check_entry(cls, name)

    if not TYPE_CHECKING:  # a checker would hold each subclass's own __init__ against this signature

        def __new__(cls, *_args: object, **_kwargs: object) -> Self:
            """Make the agent, unless its class writes no entry."""
            if not cls._entries:
                raise InvalidAgent(
                    f"{cls.__name__} does not say what to do with a task: write `async def rollout_async(self, task, "
                    f"resources, rollout)`, or `def rollout(self, task, resources, rollout)` for code that blocks"
                )
            return super().__new__(cls)

    def is_async(self) -> bool:
        """Whether the runner awaits this agent; a sync agent is called in a thread."""
        return not self._entries.isdisjoint(_ASYNC)

    def entry(self, *, is_training: bool) -> Callable[..., Any]:
        """For runners: what to call for a task. It is an async function if ``is_async``."""
        ending = "_async" if self.is_async() else ""
        name = f"training_rollout{ending}" if is_training else f"validation_rollout{ending}"
        return getattr(self, name if name in self._entries else f"rollout{ending}")

    def rollout(self, task: T_contra, resources: NamedResources, rollout: Rollout) -> RolloutRawResult:
        """Work on one task, blocking.

        Args:
            task: The task's input.
            resources: Models, prompts and whatever else there is, by name.
            rollout: The rollout under way; in a runner an AttemptedRollout.

        Returns:
            None, the final reward, or the spans of the rollout.
        """
        raise self._unwritten("rollout")

    async def rollout_async(self, task: T_contra, resources: NamedResources, rollout: Rollout) -> RolloutRawResult:
        """Work on one task; arguments and result are those of ``rollout``."""
        raise self._unwritten("rollout_async")

    def training_rollout(self, task: T_contra, resources: NamedResources, rollout: Rollout) -> RolloutRawResult:
        """Work on one task of mode "train"; the same as ``rollout`` unless written."""
        return self.rollout(task, resources, rollout)

    async def training_rollout_async(
        self, task: T_contra, resources: NamedResources, rollout: Rollout
    ) -> RolloutRawResult:
        """Work on one task of mode "train"; the same as ``rollout_async`` unless written."""
        return await self.rollout_async(task, resources, rollout)

    def validation_rollout(self, task: T_contra, resources: NamedResources, rollout: Rollout) -> RolloutRawResult:
        """Work on one task of any other mode, or of none; the same as ``rollout`` unless written."""
        return self.rollout(task, resources, rollout)

    async def validation_rollout_async(
        self, task: T_contra, resources: NamedResources, rollout: Rollout
    ) -> RolloutRawResult:
        """Work on one task of any other mode, or of none; the same as ``rollout_async`` unless written."""
        return await self.rollout_async(task, resources, rollout)

    def set_trainer(self, trainer: Any) -> None:
        """Remember the trainer, without keeping it alive."""
        self._trainer_ref = weakref.ref(trainer)

    def get_trainer(self) -> Any:
        """The trainer that this agent was given to last.

        Raises:
            ConfigError: There is none, or it is gone.
        """
        return self._alive(self._trainer_ref, "trainer", "Trainer.fit and Trainer.dev set it")

    @property
    def trainer(self) -> Any:
        """The same as ``get_trainer()``."""
        return self.get_trainer()

    def set_runner(self, runner: Any) -> None:
        """Remember the runner, without keeping it alive."""
        self._runner_ref = weakref.ref(runner)

    def get_runner(self) -> Any:
        """The runner of the current rollout; outside a rollout, the one that this agent was given to last.

        Raises:
            ConfigError: There is none, or it is gone.
        """
        executing = _executing.get()
        if executing is not None and executing[0] is self:
            return executing[1]
        return self._alive(self._runner_ref, "runner", "runner.init and runner.run_context set it")

    @property
    def runner(self) -> Any:
        """The same as ``get_runner()``."""
        return self.get_runner()

    def executing_on(self, runner: Any) -> AbstractContextManager[None]:
        """For runners: within this context, and the tasks and threads begun there, ``self.runner`` is that runner."""
        return _Executing(self, runner)

    def on_runner(self, runner: Any) -> Callable[[], object]:
        """For runners: from its call on, in its caller's context and in tasks begun there, ``self.runner`` is that one.

        Where many rollouts run at once, they share it.
        """
        return functools.partial(_executing.set, (self, runner))

    @property
    def tracer(self) -> Tracer:
        """The runner's tracer, or the trainer's where the runner has none.

        Raises:
            ConfigError: There is neither a runner with a tracer nor a trainer.
        """
        try:
            tracer = getattr(self.get_runner(), "tracer", None)
        except ConfigError:
            tracer = None
        return self.get_trainer().tracer if tracer is None else tracer

    def _alive(self, ref: weakref.ref[Any] | None, what: str, who: str) -> Any:
        found = ref() if ref is not None else None
        if found is None:
            state = f"has no {what} yet" if ref is None else f"belonged to a {what} that is gone"
            raise ConfigError(f"{self!r} {state}: {who}; or call set_{what}({what}) and keep the {what} alive")
        return found

    def _unwritten(self, entry: str) -> InvalidAgent:
        written = " and ".join(sorted(self._entries))
        return InvalidAgent(
            f"{type(self).__name__} was asked for {entry}, but it has only {written}: write {entry} too, "
            f"with the parameters (self, task, resources, rollout)"
        )


class _Executing(AbstractContextManager[None]):
    """The length of a rollout, for the agent that works on it."""

    __slots__ = ("_pair", "_token")

    _token: Token[tuple[LitAgent[Any], Any] | None]

    def __init__(self, agent: LitAgent[Any], runner: Any) -> None:
        self._pair = (agent, runner)

    def __enter__(self) -> None:
        self._token = _executing.set(self._pair)

    def __exit__(self, *_: object) -> None:
        _executing.reset(self._token)


def _check_entry(cls: type[LitAgent[Any]], name: str) -> None:
    entry = inspect.unwrap(cast("Callable[..., Any]", getattr(cls, name)))
    if inspect.isasyncgenfunction(entry) or inspect.isgeneratorfunction(entry):
        raise InvalidAgent(
            f"{cls.__name__}.{name} contains `yield`: an entry returns a reward, None or a list of spans"
        )
    if name in _SYNC and inspect.iscoroutinefunction(entry):
        raise InvalidAgent(
            f"{cls.__name__}.{name} is `async def`: name it `{name}_async`, which the runner awaits, "
            f"or write it with plain `def`"
        )
