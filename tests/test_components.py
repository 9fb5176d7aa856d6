"""A component in every form in which it may be given, and what is said of the forms that are none."""

from __future__ import annotations

import functools
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from lightning_actors.components import build_component
from lightning_actors.errors import ConfigError


class Part:
    """What is to be built."""

    def __init__(self, size: int = 1, *, colour: str = "red") -> None:
        self.size = size
        self.colour = colour


class NeedsSize(Part):
    def __init__(self, size: int) -> None:
        super().__init__(size)


class TakesAnything(Part):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options


def sized(size: int) -> Part:
    return Part(size)


SOURCE = """
from test_components_origin import Part

class Better(Part):
    class Inner(Part):
        pass

READY = Part(7)

def make(size=3):
    return Part(size)

class Unrelated:
    pass
"""


@pytest.fixture(autouse=True)
def modules(tmp_path: Path) -> Generator[None]:
    (tmp_path / "our_parts").mkdir()
    (tmp_path / "our_parts" / "__init__.py").write_text("")
    (tmp_path / "our_parts" / "parts.py").write_text(SOURCE)
    (tmp_path / "our_parts" / "broken.py").write_text("import a_module_that_is_not_installed\n")
    sys.modules["test_components_origin"] = sys.modules[__name__]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(tmp_path), *sys.path])
        yield
    for name in [name for name in sys.modules if name.startswith(("our_parts", "test_components_origin"))]:
        del sys.modules[name]


def build(spec: Any, **options: Any) -> Any:
    return build_component(spec, expected_type=Part, spec_name="part", **options)


def test_an_instance_is_taken_as_it_is() -> None:
    part = Part()
    assert build(part) is part


@pytest.mark.parametrize("spec", [Part, lambda: Part(2), functools.partial(Part, 5)])
def test_a_class_or_factory_is_called(spec: Any) -> None:
    assert isinstance(build(spec), Part)


def test_an_instance_that_can_be_called_is_not_called() -> None:
    class Callable(Part):
        def __call__(self) -> None:
            raise AssertionError("an instance was called")

    part = Callable()
    assert build(part) is part


def test_where_any_object_is_expected_what_stands_for_one_is_built() -> None:
    part = Part()
    specs: list[Any] = [Part, sized_two, "our_parts.parts:Better", {"type": Part}, part]
    built: list[Any] = [build_component(spec, expected_type=object, spec_name="adapter") for spec in specs]
    assert all(isinstance(component, Part) for component in built)
    assert built[-1] is part


def sized_two() -> Part:
    return Part(2)


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("our_parts.parts:Better", 1),
        ("our_parts.parts.Better", 1),
        ("our_parts.parts:Better.Inner", 1),
        ("our_parts.parts.Better.Inner", 1),
        ("our_parts.parts:READY", 7),
        ("our_parts.parts:make", 3),
    ],
)
def test_an_import_path_may_name_a_class_an_instance_or_a_factory(path: str, size: int) -> None:
    assert build(path).size == size


def test_none_is_the_default_or_nothing() -> None:
    assert build(None, default_factory=lambda: Part(9)).size == 9
    assert build(None) is None


def test_a_dict_is_a_type_and_its_options() -> None:
    assert build({"type": "our_parts.parts:Better", "size": 4}).size == 4
    assert build({"type": Part, "colour": "blue"}).colour == "blue"
    assert build({"type": "our_parts.parts:make", "size": 2}).size == 2
    assert build({"size": 6}, dict_default_cls=Part).size == 6
    assert build({"type": TakesAnything, "whatever": 1}).options == {"whatever": 1}


def test_the_given_dict_is_not_changed() -> None:
    spec = {"type": Part, "size": 2}
    build(spec)
    assert spec == {"type": Part, "size": 2}


def test_optional_defaults_go_to_those_who_have_a_parameter_for_them() -> None:
    defaults = {"size": 8, "store": object()}
    assert build(Part, optional_defaults=defaults).size == 8
    assert build({"type": Part, "size": 2}, optional_defaults=defaults).size == 2
    assert build(sized, optional_defaults=defaults).size == 8
    assert build(NeedsSize, optional_defaults=defaults).size == 8


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (3, r"part cannot be made from 3 \(an int\): give a Part as an object, a class"),
        (object(), "part cannot be made from"),
        ("Better", "not an import path: write 'package.module:Name'"),
        ("our_parts..parts:Better", "not an import path"),
        ("our_parts.parts:Bettr", r"has no 'Bettr'.*it has 'Better', 'Part', 'READY'. Did you mean 'Better'\?"),
        ("our_parts.nowhere:Better", "No module named 'our_parts.nowhere'"),
        ("nowhere.parts.Better", "No module named 'nowhere'"),
        ("our_parts:Better", "nothing in it is a Part"),
        ("our_parts.broken:Better", "importing our_parts.broken .* failed: No module named 'a_module_that"),
        ("our_parts.broken.Better", "importing our_parts.broken .* failed: No module named 'a_module_that"),
        ({"size": 2}, r"without 'type'.*It has 'size'"),
        ({}, r"without 'type'.*no keys"),
        ({"type": Part, "sizes": 2}, r"Part has no option 'sizes'; it has 'size', 'colour'. Did you mean 'size'\?"),
        (NeedsSize, r"NeedsSize cannot be built without 'size': give a dict, \{'type': ..., 'size': ...\}"),
        ({"type": 3}, r"part cannot be made from 3"),
    ],
)
def test_a_bad_spec_is_a_config_error_that_says_what_was_found(spec: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(spec)


@pytest.mark.parametrize(
    "spec",
    [dict, lambda: 3, "our_parts.parts:Unrelated", {"type": "our_parts.parts:Unrelated"}, {"type": lambda: None}],
)
def test_what_comes_out_as_something_else_is_a_type_error(spec: Any) -> None:
    with pytest.raises(TypeError, match="part must be a Part"):
        build(spec)


def test_an_async_factory_is_a_type_error_and_leaves_no_coroutine() -> None:
    async def make() -> Part:
        return Part()

    with pytest.raises(TypeError, match="gave a coroutine"):
        build(make)


def test_an_error_of_the_constructor_itself_comes_through() -> None:
    class Fails(Part):
        def __init__(self) -> None:
            raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        build(Fails)
