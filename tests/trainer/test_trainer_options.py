"""What a trainer is made of, in all the forms that its components may have."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

import lightning_actors as agl
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import ConfigError
from lightning_actors.store import InMemoryLightningStore

make: Callable[..., agl.Trainer] = agl.Trainer


@agl.rollout
async def agent(task: str) -> float:
    return float(len(task))


class CountedStore(InMemoryLightningStore):
    """A store of the user's own, with an option."""

    def __init__(self, label: str = "none") -> None:
        super().__init__()
        self.label = label


def make_store() -> CountedStore:
    return CountedStore("made")


def test_everything_has_a_default() -> None:
    trainer = agl.Trainer()
    assert trainer.n_workers == trainer.n_runners == 1
    assert isinstance(trainer.tracer, agl.OtelTracer)
    assert isinstance(trainer.store, InMemoryLightningStore)
    assert isinstance(trainer.runner, agl.LitAgentRunner)
    assert isinstance(trainer.adapter, agl.TracerTraceToTriplet)
    assert trainer.algorithm is None
    assert trainer.max_rollouts is None
    assert trainer.hooks == ()
    assert trainer.runner.tracer is trainer.tracer


@pytest.mark.parametrize("given", [{}, {"store": InMemoryLightningStore, "runner": agl.LitAgentRunner}], ids=str)
def test_a_clock_is_given_to_the_store_and_the_runner_that_are_made_here(given: dict[str, Any]) -> None:
    clock = VirtualClock()
    trainer = make(clock=clock, **given)
    assert trainer.runner._clock is clock
    assert trainer.store._clock is clock  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # it is a LocalStore


def test_a_clock_leaves_finished_components_alone() -> None:
    store, runner = InMemoryLightningStore(), agl.LitAgentRunner[Any](agl.DummyTracer())
    clocks = store._clock, runner._clock
    trainer = make(clock=VirtualClock(), store=store, runner=runner)
    assert (trainer.store, trainer.runner, store._clock, runner._clock) == (store, runner, *clocks)
    assert isinstance(make(clock=VirtualClock(), store=CountedStore).store, CountedStore)


def test_options_are_keywords_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        make(4)


@pytest.mark.parametrize(
    ("given", "count"),
    [({}, 1), ({"n_workers": 3}, 3), ({"n_runners": 4}, 4), ({"n_workers": 2, "n_runners": 2}, 2)],
)
def test_n_workers_and_n_runners_are_one_number(given: dict[str, int], count: int) -> None:
    trainer = make(**given)
    assert trainer.n_workers == trainer.n_runners == count


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n_workers": 2, "n_runners": 3}, "n_workers=2 and n_runners=3 are two names of one number"),
        ({"n_workers": 0}, "n_workers is 0"),
        ({"n_runners": -1}, "n_runners is -1"),
        ({"n_workers": 2.5}, "n_workers is 2.5: give a whole number"),
        ({"n_workers": "4"}, "n_workers is '4'"),
        ({"n_workers": True}, "n_workers is True"),
        ({"max_rollouts": 0}, "max_rollouts is 0"),
        ({"max_threads": 0}, "max_threads is 0"),
        ({"grace": -1.0}, "grace is -1.0"),
        ({"grace": float("nan")}, "grace is nan"),
        ({"clock": 5}, "clock is 5: give a lightning_actors.actors.Clock"),
        ({"store": {"label": "x"}}, "store was given a dict without 'type'"),
        ({"tracer": "lightning_actors:NoSuchTracer"}, "NoSuchTracer"),
        ({"algorithm": {"type": agl.Baseline, "epochs": 3}}, "epochs"),
    ],
    ids=str,
)
def test_an_option_that_makes_no_sense_is_a_config_error(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(**given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n_worker": 2}, "Trainer has no option 'n_worker'; its options are n_workers"),
        ({"store": agl.DummyTracer}, "store must be a LightningStore"),
        ({"algorithm": agl.DummyTracer}, "algorithm must be an Algorithm"),
        ({"hooks": [lambda: None]}, "which is no Hook"),
        ({"hooks": 5}, "hooks is 5: give a lightning_actors.Hook, or a list of them"),
        ({"initial_resources": {5: None}}, "initial_resources has the name 5"),
        ({"initial_resources": {"main": "a text"}}, "initial_resources['main'] is 'a text', no Resource"),
        ({"initial_resources": ["a text"]}, "initial_resources is ['a text']"),
    ],
    ids=str,
)
def test_what_is_of_the_wrong_kind_is_a_type_error(given: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError) as caught:
        make(**given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value", "default"),
    [
        ("strategy", "shm", None),
        ("port", 4747, None),
        ("daemon", False, True),
        ("max_tasks", 3, None),
        ("dev", True, False),
        ("triplet_exporter", object(), None),
    ],
)
def test_an_option_without_meaning_warns_unless_it_is_the_default(option: str, value: Any, default: Any) -> None:
    with pytest.warns(UserWarning, match=rf"Trainer\({option}=...\) has no meaning here: \w+") as caught:
        agl.Trainer(**{option: value})
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agl.Trainer(**{option: default})


STORE = CountedStore("finished")


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        (STORE, "finished"),
        (CountedStore, "none"),
        (make_store, "made"),
        (lambda: CountedStore("in a lambda"), "in a lambda"),
        ({"type": CountedStore, "label": "in a dict"}, "in a dict"),
        ({"type": "lightning_actors.store:InMemoryLightningStore", "eviction_memory_threshold": 10_000}, None),
        ("lightning_actors.store:InMemoryLightningStore", None),
        ("lightning_actors.store.InMemoryLightningStore", None),
        (None, None),
    ],
    ids=str,
)
def test_a_component_may_be_given_in_any_form(spec: Any, label: str | None) -> None:
    trainer = agl.Trainer(store=spec, tracer=agl.DummyTracer, algorithm="lightning_actors:Baseline")
    assert isinstance(trainer.store, InMemoryLightningStore)
    assert getattr(trainer.store, "label", None) == label
    assert isinstance(trainer.tracer, agl.DummyTracer)
    assert isinstance(trainer.algorithm, agl.Baseline)
    assert trainer.fit(agent, ["x"]).status_counts == {"succeeded": 1}


def test_a_runner_of_ones_own_is_given_the_trainers_tracer() -> None:
    class Patient(agl.LitAgentRunner[Any]):
        """A runner of the user's own."""

    tracer = agl.DummyTracer()
    for spec in (Patient, {"type": Patient, "patience": 9.0}):
        trainer = agl.Trainer(tracer=tracer, runner=spec, max_rollouts=7)
        assert isinstance(trainer.runner, Patient)
        assert trainer.runner.tracer is tracer
        assert trainer.runner.max_rollouts == 7


def test_an_adapter_may_be_a_dict_of_the_defaults_options() -> None:
    adapter = agl.Trainer(adapter={"repair_hierarchy": False, "reward_match": "first_sibling"}).adapter
    assert isinstance(adapter, agl.TracerTraceToTriplet)
    assert adapter.repair_hierarchy is False
    assert adapter.reward_match is agl.RewardMatchPolicy.FIRST_SIBLING
    other = agl.Trainer(adapter={"type": "lightning_actors.adapter:TraceToMessages"}).adapter
    assert isinstance(other, agl.TraceToMessages)


def test_what_is_no_adapter_is_refused() -> None:
    with pytest.raises(TypeError, match="adapter must be a TraceAdapter"):
        make(adapter=agl.DummyTracer)


def test_one_hook_or_several() -> None:
    first, second = agl.Hook(), agl.Hook()
    assert agl.Trainer(hooks=first).hooks == (first,)
    assert agl.Trainer(hooks=[first, second]).hooks == (first, second)


def test_what_the_algorithm_is_given() -> None:
    seen: dict[str, Any] = {}
    adapter, proxy = agl.TraceToMessages(), object()
    resources = {"main": agl.PromptTemplate(template="x", engine="f-string")}

    class Curious(agl.Algorithm):
        async def run(self, train_dataset: Any = None, val_dataset: Any = None) -> None:
            seen.update(
                trainer=self.get_trainer(),
                adapter=self.get_adapter(),
                proxy=self.get_llm_proxy(),
                resources=self.get_initial_resources(),
                latest=await self.get_store().get_latest_resources(),
                train=train_dataset,
                val=val_dataset,
            )

    trainer = agl.Trainer(algorithm=Curious, adapter=adapter, llm_proxy=proxy, initial_resources=resources)
    train, val = ["a"], ["b"]
    trainer.fit(agent, train, val_dataset=val)
    latest = seen.pop("latest")
    assert latest.resources == resources
    assert seen == {
        "trainer": trainer,
        "adapter": adapter,
        "proxy": proxy,
        "resources": resources,
        "train": train,
        "val": val,
    }
