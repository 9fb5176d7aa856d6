"""Models and resources: addresses, and whatever kind a user brings."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from lightning_actors.types import (
    LLM,
    Attempt,
    AttemptedRollout,
    NamedResources,
    PromptTemplate,
    ProxyLLM,
    Resource,
    ResourcesUpdate,
    ResourceUnion,
)

NAMED: TypeAdapter[NamedResources] = TypeAdapter(NamedResources)


class Lexicon(Resource):
    """A user's own kind."""

    resource_type: Literal["lexicon"] = "lexicon"
    words: tuple[str, ...]


class Untyped(Resource):
    """A user's own kind that cannot be told from others in data."""

    words: tuple[str, ...]


def proxy(endpoint: str) -> ProxyLLM:
    return ProxyLLM(endpoint=endpoint, model="m", api_key="key", sampling_parameters={"temperature": 0.5})


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://host:80/v1", "http://host:80/rollout/ro-1/attempt/at-1/v1"),
        ("http://host:80/v1/", "http://host:80/rollout/ro-1/attempt/at-1/v1"),
        ("http://host:80", "http://host:80/rollout/ro-1/attempt/at-1"),
        ("http://host:80/", "http://host:80/rollout/ro-1/attempt/at-1"),
        ("http://host:80/api", "http://host:80/api/rollout/ro-1/attempt/at-1"),
        ("http://host:80/api/v1", "http://host:80/api/rollout/ro-1/attempt/at-1/v1"),
    ],
)
def test_a_proxy_address_names_the_attempt(endpoint: str, url: str) -> None:
    assert proxy(endpoint).get_base_url("ro-1", "at-1") == url
    assert proxy(endpoint).get_base_url(rollout_id="ro-1", attempt_id="at-1") == url
    assert proxy(endpoint).get_base_url() == endpoint
    assert proxy(endpoint).get_base_url(None, None) == endpoint


@pytest.mark.parametrize("ids", [("ro-1", None), (None, "at-1"), (1, 2), ("ro-1", 2)])
def test_a_proxy_wants_both_ids_or_neither(ids: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="both ids"):
        proxy("http://host/v1").get_base_url(*ids)


def test_a_proxy_bound_to_an_attempt_is_a_plain_model() -> None:
    attempt = Attempt(rollout_id="ro-1", attempt_id="at-1", sequence_id=1, start_time=0)
    rollout = AttemptedRollout(rollout_id="ro-1", input=1, start_time=0, attempt=attempt)
    bound = proxy("http://host/v1").with_attempted_rollout(rollout)
    assert type(bound) is LLM
    assert bound == LLM(
        endpoint="http://host/rollout/ro-1/attempt/at-1/v1",
        model="m",
        api_key="key",
        sampling_parameters={"temperature": 0.5},
    )
    assert bound.get_base_url("any", attempt_id="thing") == bound.endpoint


def test_resources_are_read_from_data_by_their_type() -> None:
    data: dict[str, Any] = {
        "llm": {"resource_type": "llm", "endpoint": "e", "model": "m"},
        "proxy": {"resource_type": "proxy_llm", "endpoint": "e", "model": "m"},
        "prompt": {"resource_type": "prompt_template", "template": "t", "engine": "jinja"},
        "words": {"resource_type": "lexicon", "words": ["a", "b"]},
    }
    named = NAMED.validate_python(data)
    assert named == {
        "llm": LLM(endpoint="e", model="m"),
        "proxy": ProxyLLM(endpoint="e", model="m"),
        "prompt": PromptTemplate(template="t", engine="jinja"),
        "words": Lexicon(words=("a", "b")),
    }
    assert [type(resource) for resource in named.values()] == [LLM, ProxyLLM, PromptTemplate, Lexicon]


def test_resources_are_whole_after_a_trip_through_json() -> None:
    update = ResourcesUpdate(
        resources_id="rs-1",
        create_time=1,
        update_time=1,
        version=1,
        resources={"words": Lexicon(words=("a",)), "llm": proxy("http://host/v1")},
    )
    assert ResourcesUpdate.model_validate_json(update.model_dump_json()) == update
    assert update.model_dump()["resources"]["words"] == {"resource_type": "lexicon", "words": ("a",)}


def test_a_users_own_resource_is_kept_as_it_is() -> None:
    mine, untyped = Lexicon(words=("a",)), Untyped(resource_type="mine", words=("b",))
    named = NAMED.validate_python({"words": mine, "untyped": untyped})
    assert named["words"] is mine
    assert named["untyped"] is untyped
    with pytest.raises(ValidationError):
        mine.words = ()


@pytest.mark.parametrize("data", [{}, {"resource_type": "unheard-of"}, {"resource_type": None}, {"resource_type": 3}])
def test_data_of_an_unknown_type_is_refused_and_the_known_are_named(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"\blexicon, .*\bllm, .*\bprompt_template, .*\bproxy_llm"):
        NAMED.validate_python({"x": data})


@pytest.mark.parametrize("value", ["text", 3, None, ["a"]])
def test_what_is_no_resource_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        NAMED.validate_python({"x": value})


def test_a_subclass_that_keeps_the_type_of_its_base_does_not_take_its_place() -> None:
    class Tuned(LLM):
        adapter: str = "a"

    data = {"resource_type": "llm", "endpoint": "e", "model": "m"}
    assert type(NAMED.validate_python({"x": data})["x"]) is LLM
    tuned = Tuned(endpoint="e", model="m")
    assert NAMED.validate_python({"x": tuned})["x"] is tuned


def test_a_class_that_is_defined_again_counts_in_its_last_form() -> None:
    def define(default: int) -> type[Resource]:
        class Redefined(Resource):
            resource_type: Literal["redefined"] = "redefined"
            value: int = default

        return Redefined

    kinds = [define(1), define(2)]
    found = NAMED.validate_python({"x": {"resource_type": "redefined"}})["x"]
    assert type(found) is kinds[1]


def test_the_known_kinds_are_told_apart() -> None:
    union: TypeAdapter[LLM | ProxyLLM | PromptTemplate] = TypeAdapter(ResourceUnion)
    assert type(union.validate_python({"resource_type": "proxy_llm", "endpoint": "e", "model": "m"})) is ProxyLLM


def test_a_resource_shows_itself_without_its_key() -> None:
    assert repr(proxy("http://host/v1")) == (
        "ProxyLLM(endpoint='http://host/v1', model='m', sampling_parameters={'temperature': 0.5})"
    )
    assert repr(Lexicon(words=("a",))) == "Lexicon(words=('a',))"
