"""What an agent's function wants besides its task, and where each thing comes from.

```
parameter                        is given
resources                        all resources by name
rollout                          the rollout under way
llm                              the resource named "llm", else the first LLM
prompt_template                  the resource named "prompt_template", else the first PromptTemplate
policy: Policy                   the resource named "policy", where Policy is a kind of Resource
anything with a default          its default, unless it is one of the above and there is such a resource
```
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

from lightning_actors.errors import ConfigError, MissingResource
from lightning_actors.injection import Function, Refuse, annotation_of, has_value
from lightning_actors.types import LLM, AttemptedRollout, NamedResources, PromptTemplate, ProxyLLM, Resource, Rollout

__all__ = ["GIVEN_BY_NAME", "Wanted", "wants"]

_BY_KIND: Final[Mapping[str, type[Resource]]] = {"llm": LLM, "prompt_template": PromptTemplate}
_WHOLE: Final = ("resources", "rollout")
GIVEN_BY_NAME: Final = (*_BY_KIND, *_WHOLE)
"""The parameter names that mean something whatever their annotation."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One resource that a function wants.

    Attributes:
        name: The parameter.
        kinds: What the resource may be.
        first_of_kind: Whether any resource of that kind will do where none has that name.
        required: Whether the function cannot do without.
    """

    name: str
    kinds: tuple[type[Resource], ...]
    first_of_kind: bool
    required: bool

    def find(self, resources: NamedResources) -> list[str]:
        """The names of the resources that would do, the best first."""
        if isinstance(resources.get(self.name), self.kinds):
            return [self.name]
        return [n for n, r in resources.items() if isinstance(r, self.kinds)] if self.first_of_kind else []

    def prepare(self, resource: Resource, rollout: Rollout, *, strip_proxy: bool) -> Resource:
        """The resource as the function is given it: a proxied LLM at the address of this attempt.

        Raises:
            ConfigError: The address needs an attempt and the rollout has none.
        """
        wants_proxy = all(issubclass(kind, ProxyLLM) for kind in self.kinds)
        if not strip_proxy or wants_proxy or not isinstance(resource, ProxyLLM):
            return resource
        if not isinstance(rollout, AttemptedRollout):
            raise ConfigError(
                f"{self.name} is a ProxyLLM, whose address belongs to one attempt, and rollout {rollout.rollout_id} "
                f"was given without its attempt: pass an AttemptedRollout (a runner does), or decorate with "
                f"@llm_rollout(strip_proxy=False) and call llm.get_base_url()"
            )
        return resource.with_attempted_rollout(rollout)

    def missing(
        self, agent: str, wanted: Iterator[str], resources: NamedResources, rollout: Rollout
    ) -> MissingResource:
        """The error for a resource that is not there: all that the agent wants, and all that there is."""
        kind = " or ".join(kind.__name__ for kind in self.kinds)
        available = [f"{name}: {type(resource).__name__}" for name, resource in resources.items()]
        place = "of any name" if self.first_of_kind else f"named {self.name!r}"
        key = self.name if not self.first_of_kind or not resources else "<name>"
        return MissingResource(
            f"agent {agent} wants {', '.join(wanted)}, but the resources of rollout {rollout.rollout_id} hold "
            f"{', '.join(available) or 'nothing'}: there is no {kind} {place}. Give one: "
            f"Trainer(initial_resources={{{key!r}: {self.kinds[0].__name__}(...)}}), the same to step(resources=...), "
            f"or store.add_resources",
            wanted=f"{self.name}: {kind}",
            available=available,
            rollout_id=rollout.rollout_id,
        )

    def __str__(self) -> str:
        return f"{self.name}: {' or '.join(kind.__name__ for kind in self.kinds)}"


def wants(function: Function, refuse: Refuse) -> tuple[str, tuple[Wanted, ...]]:
    """Work out what a function wants.

    Args:
        function: The agent's function.
        refuse: Makes the error to raise.

    Returns:
        The name of the task's parameter, and the resources in the order of their parameters.

    Raises:
        Exception: What ``refuse`` made: the first parameter is not the task, or another one can be given nothing.
    """
    task, *others = function.named or (None,)
    if task is None or task.kind is Parameter.KEYWORD_ONLY or function.parameters[0] is not task:
        unclear = " (a decorator that wraps a function should use functools.wraps)" if function.parameters else ""
        raise refuse(f"its first parameter is not the task{unclear}")
    if task.name in GIVEN_BY_NAME:
        raise refuse(f"its first parameter is {task.name!r}, where the task is expected")
    found: list[Wanted] = []
    for parameter in others:
        wanted = _wanted(function, parameter)
        if wanted is not None:
            found.append(wanted)
        elif parameter.name not in _WHOLE and not has_value(parameter):
            raise refuse(_nothing_for(function, parameter))
    return task.name, tuple(found)


def _wanted(function: Function, parameter: Parameter) -> Wanted | None:
    name = parameter.name
    if name in _WHOLE:
        return None
    kinds = _kinds(annotation_of(function, parameter))
    default = _BY_KIND.get(name)
    if not kinds and default is None:
        return None
    return Wanted(name, kinds or (default or Resource,), default is not None, required=not has_value(parameter))


def _nothing_for(function: Function, parameter: Parameter) -> str:
    annotation = parameter.annotation
    unresolved = (
        f" (its annotation {annotation!r} means nothing where the function stands: write it without quotes, "
        f"or define it at module level)"
        if annotation is not Parameter.empty and annotation_of(function, parameter) is Parameter.empty
        else ""
    )
    return f"nothing is known to give to its parameter {parameter.name!r}{unresolved}"


def _kinds(annotation: Any) -> tuple[type[Resource], ...]:
    """The kinds of resource that an annotation admits; none if it admits anything else but None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in {Union, types.UnionType}:
        parts = [_kinds(part) for part in get_args(annotation) if part is not types.NoneType]
        return tuple(kind for part in parts for kind in part) if all(parts) else ()
    if isinstance(annotation, TypeVar):
        return _kinds(annotation.__bound__)
    return (annotation,) if isinstance(annotation, type) and issubclass(annotation, Resource) else ()
