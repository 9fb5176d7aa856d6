"""What an agent is given besides its task: models, prompts, and whatever the user's own algorithm learns.

Source: names, fields and the proxy's address rule are those of Agent Lightning 0.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter
from typing import Annotated, Any, Final, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationInfo
from pydantic_core import to_json

from lightning_actors.errors import ConfigError, MissingExtra, MissingPlaceholder
from lightning_actors.types.core import AttemptedRollout, Record

__all__ = [
    "KEEP_UNKNOWN_RESOURCES",
    "LLM",
    "NamedResources",
    "OpaqueResource",
    "PromptTemplate",
    "ProxyLLM",
    "Resource",
    "ResourceUnion",
    "ResourcesUpdate",
]

KEEP_UNKNOWN_RESOURCES: Final[dict[str, Any]] = {"keep_unknown_resources": True}
"""Validation context under which a resource of a class that was not imported is kept instead of refused."""


class Resource(BaseModel):
    """Something that an agent needs and an algorithm may improve.

    Subclass it, frozen as it is, to publish a kind of your own; give ``resource_type`` a Literal default so that it
    can be told from the others when it is read back from a file or a network.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    resource_type: Any

    def __repr__(self) -> str:
        shown = ", ".join(f"{n}={_short(v)}" for n, v in self.__repr_args__() if n not in {"resource_type", "api_key"})
        return f"{type(self).__name__}({shown})"

    __str__ = __repr__


def _short(value: object, longest: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


class LLM(Resource):
    """A language model behind an OpenAI-compatible endpoint.

    Attributes:
        endpoint: Base URL, usually ending in ``/v1``.
        model: The model's name there.
        api_key: Key to send; None for none. Never shown in reprs.
        sampling_parameters: Passed with each request, e.g. ``{"temperature": 0.7}``.
    """

    resource_type: Literal["llm"] = "llm"
    endpoint: str
    model: str
    api_key: str | None = None
    sampling_parameters: dict[str, Any] = Field(default_factory=dict[str, Any])

    def get_base_url(self, *_args: object, **_kwargs: object) -> str:
        """The base URL to give to a client; arguments are taken, so that a ProxyLLM can stand in its place."""
        return self.endpoint


class ProxyLLM(LLM):
    """A language model behind a proxy that files its calls under a rollout, told by the address."""

    resource_type: Literal["proxy_llm"] = "proxy_llm"  # pyright: ignore[reportIncompatibleVariableOverride]  # a discriminator narrows

    def get_base_url(self, rollout_id: str | None = None, attempt_id: str | None = None) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]  # the plain LLM takes anything and ignores it
        """The base URL that belongs to one attempt.

        Args:
            rollout_id: The rollout; None together with ``attempt_id`` for the bare endpoint.
            attempt_id: The attempt.

        Returns:
            ``{endpoint}/rollout/{rollout_id}/attempt/{attempt_id}``, with a trailing ``/v1`` of the endpoint kept last.

        Raises:
            ValueError: Exactly one id was given, or one is not a string.
        """
        if rollout_id is None and attempt_id is None:
            return self.endpoint
        if not (isinstance(rollout_id, str) and isinstance(attempt_id, str)):
            raise ValueError(  # noqa: TRY004 - one mistake, one kind of error: the two ids belong together
                f"get_base_url wants both ids as strings or neither, not rollout_id={rollout_id!r}, "
                f"attempt_id={attempt_id!r}"
            )
        root = self.endpoint.removesuffix("/")
        version = "/v1" if root.endswith("/v1") else ""
        return f"{root.removesuffix('/v1')}/rollout/{rollout_id}/attempt/{attempt_id}{version}"

    def with_attempted_rollout(self, rollout: AttemptedRollout) -> LLM:
        """A plain LLM whose endpoint belongs to this attempt."""
        return LLM(
            endpoint=self.get_base_url(rollout.rollout_id, rollout.attempt.attempt_id),
            model=self.model,
            api_key=self.api_key,
            sampling_parameters=self.sampling_parameters,
        )


class PromptTemplate(Resource):
    """A prompt with placeholders.

    Attributes:
        template: The text, e.g. ``"You are a helpful assistant. {any_question}"``.
        engine: ``"f-string"`` (``{name}``; literal braces are doubled; it reaches the attributes of the values: for
            templates that you trust) or ``"jinja"`` (sandboxed; needs the extra).
    """

    resource_type: Literal["prompt_template"] = "prompt_template"
    template: str
    engine: Literal["f-string", "jinja"]

    def format(self, /, **values: object) -> str:
        """Fill the placeholders.

        Args:
            **values: A value for each placeholder; values that the template does not want are ignored.

        Returns:
            The finished text.

        Raises:
            MissingPlaceholder: A placeholder was given no value; ``error.missing`` names them all.
            ConfigError: The template is not well formed, or does not fit the values.
            MissingExtra: The engine is jinja and jinja2 is not installed.
        """
        return self._format_jinja(values) if self.engine == "jinja" else self._format_fields(values)

    def placeholders(self) -> tuple[str, ...]:
        """The names that ``format`` wants, each once, in order of appearance."""
        if self.engine == "f-string":
            return tuple(dict.fromkeys(self._field_names(self.template)))
        environment = _jinja_environment()
        from jinja2 import TemplateError, meta, nodes  # noqa: PLC0415 - belongs to an extra

        try:
            parsed = environment.parse(self.template)
            wanted = meta.find_undeclared_variables(parsed)
        except TemplateError as error:
            raise self._malformed(error) from error
        return tuple(dict.fromkeys(node.name for node in parsed.find_all(nodes.Name) if node.name in wanted))

    def _field_names(self, template: str) -> Iterator[str]:
        try:
            fields = list(Formatter().parse(template))
        except ValueError as error:
            raise self._malformed(error) from error
        for _, field, spec, _ in fields:
            if field is None:
                continue
            name = field.partition(".")[0].partition("[")[0]
            if not name or name.isdecimal():
                raise ConfigError(
                    f"the placeholder {{{field}}} of the template {_short(self.template)} has no name: write one into "
                    f"it, as in {{question}}, or write literal braces twice"
                )
            yield name
            yield from self._field_names(spec or "")

    def _format_fields(self, values: dict[str, object]) -> str:
        missing = [name for name in self.placeholders() if name not in values]
        if missing:
            raise self._missing(missing, values)
        try:
            return self.template.format(**values)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise self._unfit(error) from error

    def _format_jinja(self, values: dict[str, object]) -> str:
        wanted = self.placeholders()
        from jinja2 import TemplateError, UndefinedError  # noqa: PLC0415 - belongs to an extra

        try:
            return _jinja_environment().from_string(self.template).render(values)
        except UndefinedError as error:
            missing = [name for name in wanted if name not in values]
            raise (self._missing(missing, values) if missing else self._unfit(error)) from error
        except TemplateError as error:
            raise self._unfit(error) from error

    def _missing(self, missing: list[str], values: dict[str, object]) -> MissingPlaceholder:
        wanted = ", ".join(repr(name) for name in missing)
        given = ", ".join(repr(name) for name in values) or "none"
        names = ", ".join(f"{name}=..." for name in missing if name.isidentifier())
        return MissingPlaceholder(
            f"the template {_short(self.template)} wants {wanted}, but the values given were: {given}. "
            + (f"Pass {names} to format(), or write" if names else "Write")
            + self._literal_braces(),
            missing=missing,
        )

    def _malformed(self, error: Exception) -> ConfigError:
        return ConfigError(
            f"the template {_short(self.template)} is not a well-formed {self.engine} template ({error}): "
            f"write{self._literal_braces()}"
        )

    def _literal_braces(self) -> str:
        if self.engine == "jinja":
            return " literal braces as in {{ '{{' }}, or between {% raw %} and {% endraw %}"
        return " literal braces twice, as in '{{' and '}}'"

    def _unfit(self, error: Exception) -> ConfigError:
        return ConfigError(
            f"the template {_short(self.template)} cannot be filled with the values given: "
            f"{type(error).__name__}: {error}"
        )


def _jinja_environment() -> Any:
    try:
        from jinja2 import StrictUndefined  # noqa: PLC0415 - belongs to an extra
        from jinja2.sandbox import SandboxedEnvironment  # noqa: PLC0415 - belongs to an extra
    except ImportError as error:
        raise MissingExtra("PromptTemplate(engine='jinja')", extra="jinja") from error
    return SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


class OpaqueResource(Resource):
    """A resource of a class that this process has not imported, read from a file or a network.

    All its fields are kept, can be read as attributes, and are written again as they were; a process that has imported
    the class gets an object of it.
    """

    model_config = ConfigDict(extra="allow")

    resource_type: str


ResourceUnion = Annotated[LLM | ProxyLLM | PromptTemplate, Field(discriminator="resource_type")]
"""The kinds of resource that every Agent Lightning system knows."""


def _kinds(base: type[Resource]) -> Iterator[type[Resource]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


def _from_data(value: object, info: ValidationInfo) -> object:
    """Read a mapping as the kind of resource that its resource_type names.

    Where a subclass keeps the type of its base, the base is meant; where a class was defined again, as in a notebook,
    its last definition.
    """
    if not isinstance(value, dict):
        return value
    data = cast("dict[str, Any]", value)
    wanted = data.get("resource_type")
    known = [(kind.model_fields["resource_type"].default, kind) for kind in _kinds(Resource)]
    found = [kind for name, kind in known if name == wanted and isinstance(name, str)]
    if not found:
        if isinstance(wanted, str) and info.context == KEEP_UNKNOWN_RESOURCES:
            return OpaqueResource.model_validate(data)
        names = sorted({name for name, _ in known if isinstance(name, str)})
        raise ValueError(f"resource_type {wanted!r} is none of those known here: {', '.join(names)}")
    place = (found[0].__module__, found[0].__qualname__)
    kind = [kind for kind in found if (kind.__module__, kind.__qualname__) == place][-1]
    if info.mode == "json" or info.context == KEEP_UNKNOWN_RESOURCES:
        # a strict model takes more from JSON than from Python
        return kind.model_validate_json(to_json(data, inf_nan_mode="constants"), context=info.context)
    return kind.model_validate(data, context=info.context)


NamedResources = dict[str, Annotated[SerializeAsAny[Resource], BeforeValidator(_from_data)]]
"""Resources by the name under which an agent asks for them."""


class ResourcesUpdate(Record):
    """A set of named resources as the store keeps it.

    Attributes:
        resources_id: ``rs-`` and 12 hex digits, or a name given to ``update_resources``.
        create_time: When this id was made.
        update_time: When it last changed.
        version: 1 when made, one more with each update.
        resources: The resources by name.
    """

    resources_id: str
    create_time: float
    update_time: float
    version: int
    resources: NamedResources

    def _summary(self) -> str:
        return f"{self.resources_id} v{self.version} {sorted(self.resources)}"
