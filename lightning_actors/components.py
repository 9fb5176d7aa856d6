"""Parts given in whatever form is handy: an object, a class, a factory, an import path, or a dict.

```
Trainer(tracer=tracer)                                  the object itself
Trainer(tracer=OtelTracer)                              a class, built without arguments
Trainer(tracer=lambda: OtelTracer())                    a factory
Trainer(tracer="my_package.tracers:MyTracer")           where to import it from
Trainer(tracer={"type": "my_package.tracers:MyTracer", "option": 1})
Trainer(tracer=None)                                    the default
```
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from types import ModuleType
from typing import Any, Final, TypeVar, cast, overload

from lightning_actors.error_text import with_article
from lightning_actors.errors import ConfigError

__all__ = ["ComponentSpec", "build_component", "find_component"]

T = TypeVar("T")

ComponentSpec = T | type[T] | Callable[[], T] | str | Mapping[str, Any] | None
"""What stands for a component of some type."""

_FORMS: Final = "an object, a class, a function without arguments, 'package.module:Name', a dict with 'type', or None"


@overload
def build_component(
    spec: ComponentSpec[T],
    *,
    expected_type: type[T],
    spec_name: str,
    default_factory: Callable[[], T],
    optional_defaults: Mapping[str, Any] | None = None,
    dict_default_cls: type[T] | None = None,
) -> T: ...
@overload
def build_component(
    spec: ComponentSpec[T],
    *,
    expected_type: type[T],
    spec_name: str,
    default_factory: None = None,
    optional_defaults: Mapping[str, Any] | None = None,
    dict_default_cls: type[T] | None = None,
) -> T | None: ...
def build_component(
    spec: Any,
    *,
    expected_type: type[Any],
    spec_name: str,
    default_factory: Callable[[], Any] | None = None,
    optional_defaults: Mapping[str, Any] | None = None,
    dict_default_cls: type[Any] | None = None,
) -> Any:
    """Make a component from what stands for it.

    Args:
        spec: An instance, a class, a factory, an import path (``package.module:Name`` or ``package.module.Name``), a
            dict of constructor options with ``type`` (any of these but an instance), or None.
        expected_type: What the component must be an instance of.
        spec_name: The option it was given as, for messages.
        default_factory: Makes the component where the spec is None; without one the answer is then None.
        optional_defaults: Options for constructors and factories that have a parameter of that name.
        dict_default_cls: The class of a dict without ``type``; None where a dict must have it.

    Returns:
        The component, or None where nothing was asked for and there is no default.

    Raises:
        ConfigError: The spec is none of these, names nothing, or holds an option that the constructor does not have.
        TypeError: What came of the spec is not an ``expected_type``.
    """
    build = _Build(expected_type, spec_name, optional_defaults or {})
    if spec is None:
        return None if default_factory is None else build.checked(default_factory(), "its default")
    if build.is_finished(spec):
        return spec
    if isinstance(spec, Mapping):
        return build.from_mapping(cast("Mapping[str, Any]", spec), dict_default_cls)
    if isinstance(spec, str):
        found = build.find(spec)
        return found if build.is_finished(found) else build.call(found, {}, repr(spec))
    return build.call(spec, {}, repr(spec))


def find_component(path: str, *, expected_type: type[Any], spec_name: str) -> Any:
    """What an import path names, whatever it is.

    Args:
        path: ``package.module:Name`` or ``package.module.Name``.
        expected_type: What is hoped for: where there is nothing of that name, the message offers what is of this type.
        spec_name: The option it was given as, for messages.

    Raises:
        ConfigError: There is nothing of that name.
    """
    return _Build(expected_type, spec_name, {}).find(path)


class _Build:
    """One component being built: what it must be, and how messages call it."""

    def __init__(self, expected_type: type[Any], name: str, defaults: Mapping[str, Any]) -> None:
        self._expected = expected_type
        self._name = name
        self._defaults = defaults

    def is_finished(self, spec: Any) -> bool:
        """Whether this is the component itself; where any object is expected, what stands for one is not meant."""
        stands_for_another = isinstance(spec, (str, Mapping, type)) or inspect.isroutine(spec)
        return isinstance(spec, self._expected) and not (self._expected is object and stands_for_another)

    def checked(self, component: Any, origin: str) -> Any:
        """The component, if it is what was expected."""
        if isinstance(component, self._expected):
            return component
        if inspect.iscoroutine(component):
            component.close()  # it is never run, which Python would warn of
        raise TypeError(
            f"{self._name} must be {with_article(self._expected.__name__)}, but {origin} gave "
            f"{with_article(type(component).__name__)}"
        )

    def from_mapping(self, spec: Mapping[str, Any], default: type[Any] | None) -> Any:
        """Build from a dict: its ``type``, called with the rest."""
        options = dict(spec)
        kind = options.pop("type", default)
        if kind is None:
            raise ConfigError(
                f"{self._name} was given a dict without 'type', which names the class to build: "
                f"{{'type': 'package.module:Name', ...}}. It has {_listed(options) or 'no keys'}"
            )
        return self.call(self.find(kind) if isinstance(kind, str) else kind, options, repr(kind))

    def call(self, kind: Any, options: Mapping[str, Any], origin: str) -> Any:
        """Call a class or factory with these options and whatever defaults it has a parameter for."""
        if not callable(kind):
            raise ConfigError(
                f"{self._name} cannot be made from {origin} ({with_article(type(kind).__name__)}): "
                f"give {with_article(self._expected.__name__)} as {_FORMS}"
            )
        if isinstance(kind, type) and not issubclass(kind, self._expected):
            raise TypeError(
                f"{self._name} must be {with_article(self._expected.__name__)}, but {kind.__name__} is none"
            )
        arguments = self._arguments(kind, options)
        return self.checked(kind(**arguments), origin)

    def _arguments(self, kind: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
        try:
            parameters = inspect.signature(kind).parameters.values()
        except (TypeError, ValueError):
            return dict(options)  # built in C without a signature: the call itself will tell
        named = {p.name: p for p in parameters if p.kind in {Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY}}
        takes_any = any(p.kind is Parameter.VAR_KEYWORD for p in parameters)
        title = getattr(kind, "__name__", repr(kind))
        unknown = [] if takes_any else [name for name in options if name not in named]
        if unknown:
            raise ConfigError(
                f"{self._name}: {title} has no option {_listed(unknown)}; it has {_listed(named) or 'none'}"
                + _suggestion(unknown[0], named)
            )
        arguments = {**{name: value for name, value in self._defaults.items() if name in named}, **options}
        missing = [name for name, p in named.items() if p.default is Parameter.empty and name not in arguments]
        if missing:
            raise ConfigError(
                f"{self._name}: {title} cannot be built without {_listed(missing)}: give a dict, "
                f"{{'type': ..., {', '.join(f'{name!r}: ...' for name in missing)}}}, or the finished object"
            )
        return arguments

    def find(self, path: str) -> Any:
        """What an import path names."""
        module, attributes = self._module(path)
        found: Any = module
        for attribute in attributes:
            if not hasattr(found, attribute):
                raise ConfigError(
                    f"{self._name}: {getattr(found, '__name__', found)} has no {attribute!r} ({path!r}); "
                    + self._offer(found, attribute)
                )
            found = getattr(found, attribute)
        return found

    def _module(self, path: str) -> tuple[ModuleType, list[str]]:
        head, colon, tail = path.partition(":")
        names = [*head.split("."), *tail.split(".")] if colon else path.split(".")
        if len(names) == 1 or not all(name.isidentifier() for name in names):
            raise ConfigError(
                f"{self._name}: {path!r} is not an import path: write 'package.module:Name' "
                f"for something that can be imported"
            )
        lengths = [len(head.split("."))] if colon else range(len(names) - 1, 0, -1)
        absent: ModuleNotFoundError | None = None
        for length in lengths:
            module = ".".join(names[:length])
            try:
                return importlib.import_module(module), names[length:]
            except ImportError as error:
                if not isinstance(error, ModuleNotFoundError) or not f"{module}.".startswith(f"{error.name}."):
                    raise ConfigError(f"{self._name}: importing {module} for {path!r} failed: {error}") from error
                absent = error
        raise ConfigError(f"{self._name}: {path!r} cannot be imported: {absent}") from absent

    def _offer(self, place: Any, wanted: str) -> str:
        names = [name for name in dir(place) if not name.startswith("_")]
        fitting = [name for name in names if self._fits(getattr(place, name))]
        if fitting:
            return f"it has {_listed(fitting)}" + _suggestion(wanted, fitting)
        return f"nothing in it is {with_article(self._expected.__name__)}" + _suggestion(wanted, names)

    def _fits(self, found: Any) -> bool:
        return isinstance(found, self._expected) or (isinstance(found, type) and issubclass(found, self._expected))


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in names)


def _suggestion(wanted: str, names: Any) -> str:
    close = difflib.get_close_matches(wanted, [str(name) for name in names], n=1)
    return f". Did you mean {close[0]!r}?" if close else ""
