"""Prompts with placeholders: filled, or an error that says what is wrong."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from lightning_actors.errors import ConfigError, MissingExtra, MissingPlaceholder
from lightning_actors.types import PromptTemplate


def fields(template: str) -> PromptTemplate:
    return PromptTemplate(template=template, engine="f-string")


def jinja(template: str) -> PromptTemplate:
    return PromptTemplate(template=template, engine="jinja")


@dataclass
class Person:
    name: str


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        ("plain", {}, "plain"),
        ("Hello {name}!", {"name": "Ann"}, "Hello Ann!"),
        ("{a}{b}{a}", {"a": 1, "b": 2}, "121"),
        ("{who.name} {things[0]} {map[key]}", {"who": Person("Ann"), "things": [3], "map": {"key": 4}}, "Ann 3 4"),
        ("{number:.2f}", {"number": 3.14159}, "3.14"),
        ("{number:{width}.{digits}f}|", {"number": 2.5, "width": 8, "digits": 1}, "     2.5|"),
        ("{word!r:>6}", {"word": "a"}, "   'a'"),
        ('{{"answer": "{answer}"}}', {"answer": 42}, '{"answer": "42"}'),
        ("{self} and {values}", {"self": "me", "values": 1}, "me and 1"),
        ("{größe}", {"größe": "L"}, "L"),
        ("{a}", {"a": "{b}", "unused": 1}, "{b}"),
    ],
)
def test_placeholders_are_filled(template: str, values: dict[str, Any], text: str) -> None:
    assert fields(template).format(**values) == text


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("none", ()),
        ("{b} {a} {b}", ("b", "a")),
        ("{a.b.c} {d[0].e} {f[x.y]}", ("a", "d", "f")),
        ("{a:{b}} {c!s:{d[0]}}", ("a", "b", "c", "d")),
        ("{{not}} {one}", ("one",)),
    ],
)
def test_placeholders_are_named_in_order(template: str, names: tuple[str, ...]) -> None:
    assert fields(template).placeholders() == names


@pytest.mark.parametrize(
    ("template", "values", "missing"),
    [
        ("{a} {b} {c}", {"b": 1}, ("a", "c")),
        ("{a.name} {b[0]}", {}, ("a", "b")),
        ("{a:{width}}", {"a": 1}, ("width",)),
        ('{"answer": 1}', {}, ('"answer"',)),
        ('{"outer": {"inner": 1}} {question}', {"question": 1}, ('"outer"', '"inner"')),
    ],
)
def test_a_missing_placeholder_is_named(template: str, values: dict[str, Any], missing: tuple[str, ...]) -> None:
    with pytest.raises(MissingPlaceholder) as caught:
        fields(template).format(**values)
    assert caught.value.missing == missing
    assert isinstance(caught.value, KeyError | ConfigError)
    message = str(caught.value)
    assert all(repr(name) in message for name in missing)
    assert "braces twice" in message
    assert ("format()" in message) == any(name.isidentifier() for name in missing)
    for name in values:
        assert repr(name) in message


@pytest.mark.parametrize("template", ["{}", "{0}", "{:>5}", "{0.name}", "{[1]}", "{a} {}", "{a:{}}"])
def test_a_placeholder_without_a_name_is_refused(template: str) -> None:
    for ask in (lambda: fields(template).format(a=1), lambda: fields(template).placeholders()):
        with pytest.raises(ConfigError, match="no name"):
            ask()


@pytest.mark.parametrize("template", ["{", "}", "{a", "a}", "{a!}", "{a!rr}", "{a:{b}", '{"a": 1'])
def test_a_malformed_template_is_refused(template: str) -> None:
    with pytest.raises(ConfigError, match="well-formed"):
        fields(template).format(a=1, b=2)


@pytest.mark.parametrize(
    ("template", "values"),
    [
        ("{a.missing}", {"a": 1}),
        ("{a[5]}", {"a": [1]}),
        ("{a[key]}", {"a": {}}),
        ("{a[0]}", {"a": 7}),
        ("{a:d}", {"a": "text"}),
        ("{a!x}", {"a": 1}),
    ],
)
def test_values_that_do_not_fit_are_refused_with_the_template_named(template: str, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="cannot be filled") as caught:
        fields(template).format(**values)
    assert not isinstance(caught.value, MissingPlaceholder)
    assert template in str(caught.value)
    assert caught.value.__cause__ is not None


@given(some.text(max_size=30), some.dictionaries(some.sampled_from("abc"), some.integers()))
def test_whatever_the_template_the_error_is_a_config_error(template: str, values: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        fields(template).format(**values)


@given(some.lists(some.sampled_from(["{a}", "{b}", "{{", "}}", "text", " "]), max_size=12))
def test_a_well_formed_template_is_filled_as_python_does(parts: list[str]) -> None:
    template = "".join(parts)
    assert fields(template).format(a=1, b="two") == template.format(a=1, b="two")


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        ("Hello {{ name }}!", {"name": "Ann"}, "Hello Ann!"),
        ("{% for t in things %}{{ t.name }};{% endfor %}", {"things": [Person("a"), Person("b")]}, "a;b;"),
        ("{{ name | default('nobody') }}", {}, "nobody"),
        ("{{ text }}", {"text": "<b>&</b>"}, "<b>&</b>"),
        ('{"json": {{ self_ }}}', {"self_": 1}, '{"json": 1}'),
    ],
)
def test_jinja_templates_are_filled(template: str, values: dict[str, Any], text: str) -> None:
    assert jinja(template).format(**values) == text


def test_jinja_placeholders_are_named_in_order_and_no_loop_variable_is() -> None:
    template = "{{ zebra }} {% for t in things %}{{ t }}{{ loop.index }}{% endfor %} {{ apple.colour }} {{ zebra }}"
    assert jinja(template).placeholders() == ("zebra", "things", "apple")


def test_a_missing_jinja_placeholder_is_named() -> None:
    with pytest.raises(MissingPlaceholder) as caught:
        jinja("{{ question }} {{ answer }} {{ given }}").format(given=1)
    assert caught.value.missing == ("question", "answer")
    assert "question=..., answer=..." in str(caught.value)


@pytest.mark.parametrize("template", ["{{ a", "{% for %}", "{% if a %}", "{{ a | no_such_filter }}"])
def test_a_malformed_jinja_template_is_refused(template: str) -> None:
    for ask in (lambda: jinja(template).format(a=1), jinja(template).placeholders):
        with pytest.raises(ConfigError, match="well-formed"):
            ask()


def test_jinja_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be filled") as caught:
        jinja("{{ a.missing }}").format(a=Person("Ann"))
    assert not isinstance(caught.value, MissingPlaceholder)


def test_jinja_is_sandboxed() -> None:
    for attack in ("{{ a.__class__.__mro__ }}", "{{ a.__init__.__globals__ }}", "{{ ''.__class__.__subclasses__() }}"):
        with pytest.raises(ConfigError):
            jinja(attack).format(a=Person("Ann"))


def test_without_jinja_installed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "jinja2"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    template = jinja("{{ a }}")
    for ask in (lambda: template.format(a=1), template.placeholders):
        with pytest.raises(MissingExtra) as caught:
            ask()
        assert caught.value.extra == "jinja"
        assert "lightning-actors[jinja]" in str(caught.value)
    assert fields("{a}").format(a=1) == "1"


@pytest.mark.parametrize("engine", ["poml", "F-STRING", ""])
def test_an_unknown_engine_is_refused(engine: Literal["jinja"]) -> None:
    with pytest.raises(ValidationError):
        PromptTemplate(template="t", engine=engine)


@pytest.mark.parametrize("template", ["{{ question }} in {{ place }}", "{{ question"])
def test_a_jinja_templates_errors_say_how_jinja_writes_literal_braces(template: str) -> None:
    prompt = PromptTemplate(template=template, engine="jinja")
    with pytest.raises(ConfigError) as error:
        prompt.format(question="Why?")
    assert "{% raw %}" in str(error.value)
    assert "braces twice" not in str(error.value)
