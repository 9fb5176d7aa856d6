"""Flatten, unflatten, filter, sanitise; tags and links."""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import ReadableSpan

from lightning_actors.attributes import (
    check_attributes_sanity,
    extract_links_from_attributes,
    extract_tags_from_attributes,
    filter_and_unflatten_attributes,
    filter_attributes,
    flatten_attributes,
    format_exception_attributes,
    make_link_attributes,
    make_tag_attributes,
    query_linked_spans,
    sanitize_attributes,
    unflatten_attributes,
)
from lightning_actors.types import Span

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text('aé\n"{', max_size=5)
keys = st.text(alphabet="abc_xyz ", min_size=1, max_size=4)
nested = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(keys, nested, max_size=5), st.booleans())
def test_unflatten_undoes_flatten(value: dict[str, Any], expand: bool) -> None:  # noqa: FBT001 - a drawn value
    flat = flatten_attributes(value, expand_leaf_lists=expand)
    if value:
        assert unflatten_attributes(flat) == value
    else:
        assert flat == {"": {}}


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(keys, nested, max_size=5))
def test_what_is_flattened_and_sanitised_is_what_opentelemetry_allows(value: dict[str, Any]) -> None:
    for attribute in sanitize_attributes(flatten_attributes(value)).values():
        items = attribute if isinstance(attribute, list) else [attribute]
        assert {type(item) for item in items} <= {str, bool, int, float}
        assert len({type(item) for item in items}) <= 1


def test_lists_of_one_kind_stay_whole_unless_expanded() -> None:
    value = {"same": [1, 2], "mixed": [1, "x", True], "deep": [[1], {"a": None}], "none": []}
    assert flatten_attributes(value) == {
        "same": [1, 2],
        "mixed.0": 1,
        "mixed.1": "x",
        "mixed.2": True,
        "deep.0": [1],
        "deep.1.a": None,
        "none": [],
    }
    assert flatten_attributes({"same": [1, 2]}, expand_leaf_lists=True) == {"same.0": 1, "same.1": 2}
    assert flatten_attributes([{"a": 1}]) == {"0.a": 1}
    assert flatten_attributes(5) == {"": 5}


def test_keys_that_are_no_strings_are_refused_with_their_place() -> None:
    with pytest.raises(ValueError, match=r"got 1 \(int\) below 'a.b'"):
        flatten_attributes({"a": {"b": {1: 2}}})


def test_a_value_that_holds_itself_is_refused() -> None:
    circle: dict[str, Any] = {}
    circle["again"] = circle
    with pytest.raises(ValueError, match="does a value hold itself"):
        flatten_attributes(circle)


@pytest.mark.parametrize(
    ("flat", "expected"),
    [
        ({"a.0": 1, "a.1": 2}, {"a": [1, 2]}),
        ({"a.1": 2, "a.0": 1}, {"a": [1, 2]}),
        ({"a.0": 1, "a.2": 2}, {"a": {"0": 1, "2": 2}}),
        ({"a.1": 1}, {"a": {"1": 1}}),
        ({"a.00": 1}, {"a": {"00": 1}}),
        ({"a.0": 1, "a.b": 2}, {"a": {"0": 1, "b": 2}}),
        ({"0": 1, "1": 2}, [1, 2]),
        ({"a": 1, "a.b": 2}, {"a": {"": 1, "b": 2}}),
        ({"a.b": 2, "a": 1}, {"a": {"b": 2, "": 1}}),
        ({"a": {"0": 1}}, {"a": {"0": 1}}),
        ({"²": 1}, {"²": 1}),
        ({}, {}),
    ],
)
def test_digits_become_a_list_only_if_they_are_all_from_zero(flat: dict[str, Any], expected: Any) -> None:
    assert unflatten_attributes(flat) == expected


def test_filter_takes_the_prefix_and_what_is_below_it() -> None:
    attributes = {"a": 1, "a.b": 2, "ab": 3, "c": 4}
    assert filter_attributes(attributes, "a") == {"a": 1, "a.b": 2}
    assert filter_and_unflatten_attributes({"a.b.0": 1, "a.b.1": 2, "c": 3}, "a") == {"b": [1, 2]}
    assert filter_and_unflatten_attributes({"c": 3}, "a") == {}
    with pytest.raises(ValueError, match="'a' has a value of its own"):
        filter_and_unflatten_attributes(attributes, "a")


class Colour(Enum):
    RED = "red"


class Word(StrEnum):
    YES = "yes"


class Level(IntEnum):
    HIGH = 3


def test_sanitise_writes_json_for_what_is_no_attribute() -> None:
    found = sanitize_attributes(
        {"a": None, "b": (1, 2), "c": [1, 2.0], "d": Word.YES, "e": Level.HIGH, "f": Colour.RED, "g": b"x", "h": True}
    )
    assert found == {
        "a": "null",
        "b": [1, 2],
        "c": "[1,2.0]",
        "d": "yes",
        "e": 3,
        "f": '"red"',
        "g": '"x"',
        "h": True,
    }
    assert type(found["d"]) is str
    assert type(found["e"]) is int


def test_sanitise_raises_or_falls_back() -> None:
    with pytest.raises(TypeError, match=r"the attribute 'a' cannot be written as JSON.*object"):
        sanitize_attributes({"a": object()})
    assert sanitize_attributes({"a": object()}, fallback=lambda value: type(value).__name__) == {"a": "object"}


@pytest.mark.parametrize("attributes", [{"": 1}, {1: 1}, {"a": {"b": 1}}])
def test_attributes_that_are_not_flat_or_have_odd_keys_are_refused(attributes: Any) -> None:
    with pytest.raises(ValueError, match="attribute"):
        check_attributes_sanity(attributes)


def test_sane_attributes_pass() -> None:
    check_attributes_sanity({"a": 1, "b.c": [1], "d": {}})


def test_an_exception_from_a_module_bears_its_name() -> None:
    class Own(Exception):
        pass

    assert str(format_exception_attributes(Own("x"))["exception.type"]).endswith("<locals>.Own")


def test_tags_are_read_back_in_order() -> None:
    tags = [f"tag {number}" for number in range(12)]
    attributes = make_tag_attributes(tags)
    assert attributes["agentlightning.tag.11"] == "tag 11"
    assert extract_tags_from_attributes({**attributes, "other": 1}) == tags
    assert extract_tags_from_attributes({}) == []
    with pytest.raises(TypeError, match=r"write \['x'\]"):
        make_tag_attributes("x")
    with pytest.raises(TypeError, match="must be a string, got 1"):
        make_tag_attributes(["x", 1])  # pyright: ignore[reportArgumentType] - what a user may try
    with pytest.raises(ValueError, match="keys 0…n-1"):
        extract_tags_from_attributes({"agentlightning.tag.5": "x"})


def test_links_lead_to_the_spans_that_match_all_of_them() -> None:
    spans = [Span.from_attributes(attributes={"id": number, "kind": "x"}, name=str(number)) for number in range(3)]
    by_ids = make_link_attributes({"trace_id": spans[1].trace_id, "span_id": spans[1].span_id})
    assert query_linked_spans(spans, extract_links_from_attributes(by_ids)) == [spans[1]]
    by_kind = extract_links_from_attributes(make_link_attributes({"kind": "x"}))
    assert query_linked_spans(spans, by_kind) == spans
    of_two = extract_links_from_attributes(make_link_attributes({"kind": "x", "span_id": spans[2].span_id}))
    assert query_linked_spans(spans, of_two) == [spans[2]]
    assert query_linked_spans(spans, extract_links_from_attributes(make_link_attributes({"missing": "x"}))) == []
    assert extract_links_from_attributes({}) == []
    with pytest.raises(ValueError, match="must be a string, got id=1"):
        make_link_attributes({"id": 1})  # pyright: ignore[reportArgumentType] - what a user may try
    with pytest.raises(ValueError, match="keys 0…n-1"):
        extract_links_from_attributes({"agentlightning.link.5.key_match": "x"})


def test_links_lead_to_sdk_spans_by_their_ids_in_hex() -> None:
    context = otel.SpanContext(1, 2, is_remote=False)
    sdk = ReadableSpan("sdk", context=context)
    links = extract_links_from_attributes(make_link_attributes({"trace_id": f"{1:032x}", "span_id": f"{2:016x}"}))
    assert query_linked_spans([sdk, ReadableSpan("none")], links) == [sdk]
