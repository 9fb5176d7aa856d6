"""What every algorithm is: something that asks the store for rollouts and learns from what comes back.

```
you write                                   the trainer does
run(train_dataset, val_dataset)             set_trainer, set_store, set_adapter, … then run()
    async def run                               awaited in the trainer's event loop
    def run                                     called in a thread, with a blocking view of the store
```
"""

from __future__ import annotations

import inspect
import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, cast

from lightning_actors.adapter import TraceAdapter
from lightning_actors.errors import ConfigError
from lightning_actors.types import Dataset, NamedResources

if TYPE_CHECKING:  # the store is heavier than this file, which needs nothing of it but its type
    from lightning_actors.store.api import LightningStore
    from lightning_actors.store.blocking import BlockingStore

__all__ = ["Algorithm"]


class Algorithm(ABC):
    """Base of all algorithms: write ``run``, sync or async.

    What an algorithm works with (store, adapter, ...) is set before ``run`` is called: by the Trainer, or by hand with
    the ``set_`` methods when it runs beside runners of your own. A subclass need not call ``super().__init__()``.
    """

    _trainer_ref: weakref.ref[Any] | None = None
    _store: LightningStore | BlockingStore | None = None
    _adapter: TraceAdapter[Any] | None = None
    _llm_proxy: Any = None
    _initial_resources: NamedResources | None = None
    _resumes: bool | None = True

    @abstractmethod
    def run(self, train_dataset: Dataset[Any] | None = None, val_dataset: Dataset[Any] | None = None) -> Any:
        """Do the whole job; its return ends the training run, its error fails it.

        An ``async def run`` is awaited in the trainer's event loop. A plain ``def run`` is called in a thread and
        works with the blocking view of the store.

        Args:
            train_dataset: The tasks to learn from; None if there are none.
            val_dataset: The tasks to measure by; None if there are none.
        """

    def __call__(self, train_dataset: Dataset[Any] | None = None, val_dataset: Dataset[Any] | None = None) -> Any:
        """The same as ``run``."""
        return self.run(train_dataset, val_dataset)

    def is_async(self) -> bool:
        """Whether ``run`` has to be awaited."""
        return inspect.iscoroutinefunction(self.run)

    def set_trainer(self, trainer: Any) -> None:
        """Remember the trainer, without keeping it alive."""
        self._trainer_ref = weakref.ref(trainer)

    def get_trainer(self) -> Any:
        """The trainer that runs this algorithm.

        Raises:
            ConfigError: There is none, or it is gone.
        """
        trainer = self._trainer_ref() if self._trainer_ref is not None else None
        if trainer is None:
            state = "has no trainer" if self._trainer_ref is None else "belonged to a trainer that is gone"
            raise ConfigError(
                f"{type(self).__name__} {state}: Trainer.fit sets it (keep the trainer while the algorithm runs), "
                f"or call set_trainer(trainer)"
            )
        return trainer

    @property
    def trainer(self) -> Any:
        """The same as ``get_trainer()``."""
        return self.get_trainer()

    def set_store(self, store: LightningStore | BlockingStore) -> None:
        """Say which store to work with; a blocking view of it for an algorithm whose ``run`` is sync."""
        self._store = store

    def get_store(self) -> LightningStore:
        """The store to work with.

        In a sync ``run`` this is the blocking view of the store: the same operations, to be called without await.
        ``blocking_store`` is the same object under its own type.

        Raises:
            ConfigError: No store was set.
        """
        return cast("LightningStore", self._required(self._store, "store"))

    @property
    def store(self) -> LightningStore:
        """The same as ``get_store()``."""
        return self.get_store()

    @property
    def blocking_store(self) -> BlockingStore:
        """The blocking view of the store that a sync ``run`` works with.

        Raises:
            ConfigError: No store was set, or one that has to be awaited.
        """
        from lightning_actors.store.blocking import BlockingStore  # noqa: PLC0415 - needed by sync algorithms alone

        store = self._required(self._store, "store")
        if not isinstance(store, BlockingStore):
            raise ConfigError(
                f"the store of {type(self).__name__} has to be awaited: write `async def run` and use self.store, "
                f"or call set_store(BlockingStore(store))"
            )
        return store

    def set_adapter(self, adapter: TraceAdapter[Any]) -> None:
        """Say what turns spans into what this algorithm learns from."""
        self._adapter = adapter

    def get_adapter(self) -> TraceAdapter[Any]:
        """What turns spans into what this algorithm learns from.

        Raises:
            ConfigError: No adapter was set.
        """
        return self._required(self._adapter, "adapter")

    @property
    def adapter(self) -> TraceAdapter[Any]:
        """The same as ``get_adapter()``."""
        return self.get_adapter()

    def set_llm_proxy(self, llm_proxy: Any) -> None:
        """Say which proxy stands before the language models; None for none."""
        self._llm_proxy = llm_proxy

    def get_llm_proxy(self) -> Any:
        """The proxy before the language models, or None."""
        return self._llm_proxy

    @property
    def llm_proxy(self) -> Any:
        """The same as ``get_llm_proxy()``."""
        return self.get_llm_proxy()

    def set_initial_resources(self, resources: NamedResources | None) -> None:
        """Say what to start from; None for nothing."""
        self._initial_resources = resources

    def get_initial_resources(self) -> NamedResources | None:
        """The resources to start from, by name, or None."""
        return self._initial_resources

    @property
    def initial_resources(self) -> NamedResources | None:
        """The same as ``get_initial_resources()``."""
        return self.get_initial_resources()

    def set_resumes(self, resumes: bool | None) -> None:  # noqa: FBT001 - a setter like the others
        """Say what becomes of a run that was interrupted, where the store is durable and the algorithm can go on.

        Args:
            resumes: True goes on with it, which is what happens unless something is said; False forgets it and begins
                anew; None begins anew and leaves no record of the run.
        """
        self._resumes = resumes

    @property
    def resumes(self) -> bool | None:
        """What becomes of a run that was interrupted; see `set_resumes`."""
        return self._resumes

    def _required(self, value: Any, name: str) -> Any:
        if value is None:
            raise ConfigError(
                f"{type(self).__name__} has no {name}: Trainer(algorithm=..., {name}=...) sets it before run, "
                f"or call set_{name}({name}) on the algorithm"
            )
        return value
