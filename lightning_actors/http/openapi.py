"""``GET /openapi.json``: the description of the REST interface, made from the table of routes and the messages.

A message's fields are the parameters and the body, its docstring is the description, and its reply type the answer.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, cast, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticOmit, core_schema

from lightning_actors import __version__
from lightning_actors.http.envelopes import ONCE_HEADER
from lightning_actors.http.routes import AGL, HEALTH, MESSAGES, OPERATIONS, ROUTES, TRACES, Body, Route
from lightning_actors.http.wire_errors import STATUSES
from lightning_actors.store import codec
from lightning_actors.store.messages import StoreMessage
from lightning_actors.store.unset import Unset
from lightning_actors.types import PaginatedResult, Resource

__all__ = ["OPENAPI", "description"]

OPENAPI: Final = "/openapi.json"

Json = dict[str, Any]
Mode = Literal["validation", "serialization"]

_SCHEMAS: Final = "#/components/schemas/"
_OTHER_STATUSES: Final = {
    403: "AccessRefused",
    405: "Another method",
    415: "InvalidRequest",
    429: "BoundExceeded",
}
"""Statuses that no class has to itself, and what they come with."""


class _Schemas(GenerateJsonSchema):
    """JSON schemas of what messages hold."""

    ignored_warning_kinds = {"non-serializable-default", "skipped-choice"}  # noqa: RUF012 - as its base declares it

    def is_instance_schema(self, schema: core_schema.IsInstanceSchema) -> JsonSchemaValue:
        """A field that may be left out says so by not being required."""
        if schema["cls"] is Unset:
            raise PydanticOmit
        return super().is_instance_schema(schema)

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Any resource has a type, and the fields of its class."""
        if schema["cls"] is not Resource:
            return super().model_schema(schema)
        kind: Json = {"type": "string", "description": "Names the class; llm, proxy_llm and prompt_template are known."}
        return {"type": "object", "properties": {"resource_type": kind}, "required": ["resource_type"]}


@functools.cache
def description() -> Json:
    """The description, as OpenAPI 3.1."""
    schemas, definitions = _all_schemas()
    paths: dict[str, Json] = {}
    for method, path, operation in _operations(schemas):
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lightning store",
            "version": __version__,
            "description": "Agent Lightning 0.3's interface to a store, and any operation by the name of its message. "
            f"A change with the header {ONCE_HEADER}: client;number;settled_below is carried out once; asked for again "
            "under the same client and number, it is answered as it was.",
        },
        "paths": paths,
        "components": {
            "schemas": {**definitions, "Error": _error_schema()},
            "responses": {str(status): _error_response(names) for status, names in _errors().items()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _all_schemas() -> tuple[Mapping[tuple[str, str], Json], Json]:
    """The schemas of all messages and replies, by kind and mode, and the definitions that they refer to."""
    kinds = {route.message for route in ROUTES} | set(OPERATIONS.values())
    replies = {str(kind.reply_type()): kind.reply_type() for kind in kinds}
    wanted: list[tuple[Any, Mode]] = [
        *((kind, "validation") for kind in kinds),
        *((reply, "serialization") for reply in replies.values()),
    ]
    inputs: list[tuple[str, Mode, TypeAdapter[Any]]] = [
        (_key(kind), mode, codec.adapter(kind)) for kind, mode in wanted
    ]
    template = f"{_SCHEMAS}{{model}}"
    schemas, whole = TypeAdapter.json_schemas(inputs, ref_template=template, schema_generator=_Schemas)
    by_kind: dict[tuple[str, str], Json] = {(_key(kind), mode): schemas[_key(kind), mode] for kind, mode in wanted}
    definitions: Json = whole["$defs"]
    for kind in kinds:
        fields = by_kind[kind.__name__, "fields"] = _resolved(by_kind[_key(kind), "validation"], definitions)
        if "sort_by" in fields.get("properties", {}):
            fields["properties"]["sort_by"] = _sortable(kind, fields["properties"]["sort_by"])
    return by_kind, definitions


def _resolved(schema: Json, definitions: Json) -> Json:
    return definitions[schema["$ref"].removeprefix(_SCHEMAS)] if "$ref" in schema else schema


def _key(kind: Any) -> str:
    return str(kind)


def _operations(schemas: Mapping[tuple[str, str], Json]) -> Iterator[tuple[str, str, Json]]:
    yield "get", HEALTH, _health()
    for route in ROUTES:
        yield route.method.lower(), AGL + route.path, _operation(route, schemas)
    for name, message in sorted(OPERATIONS.items()):
        body = schemas[_key(message), "validation"]
        reply = schemas[_key(message.reply_type()), "serialization"]
        operation = _about(message, f"message_{name}", reply, 200)
        is_required = bool(schemas[name, "fields"].get("required"))
        yield "post", f"{MESSAGES}/{name}", {**operation, "requestBody": _json_body(body, is_required=is_required)}
    yield "post", TRACES, _traces()


def _operation(route: Route, schemas: Mapping[tuple[str, str], Json]) -> Json:
    whole = schemas[route.message.__name__, "fields"]
    fields = {name: _narrowed(name, schema, route) for name, schema in whole.get("properties", {}).items()}
    required = set(whole.get("required", ()))
    reply = schemas[_key(route.message.reply_type()), "serialization"]
    if route.reply_under is not None:
        reply = {"type": "object", "properties": {route.reply_under: reply}, "required": [route.reply_under]}
    name = f"{route.method.lower()}_{route.path.strip('/').replace('/', '_').replace('{', '').replace('}', '')}"
    operation = _about(route.message, name, reply, route.status)
    parameters = [_parameter("path", field, fields[field], is_required=True) for field in route.path_fields]
    rest = {field: schema for field, schema in fields.items() if field not in route.path_fields}
    if route.body is Body.QUERY:
        rest = {field: schema for field, schema in rest.items() if field not in route.ours}
        parameters += [_parameter("query", field, rest[field], is_required=field in required) for field in rest]
    elif route.body is Body.WHOLE:
        operation["requestBody"] = _json_body(rest[route.whole], is_required=True)
    elif route.body is not Body.NOTHING:
        theirs = {ours: name for name, ours in route.renamed.items()}
        body: Json = {
            "type": "object",
            "properties": {theirs.get(field, field): schema for field, schema in rest.items()},
            "required": [theirs.get(field, field) for field in rest if field in required],
            "additionalProperties": False,
        }
        operation["requestBody"] = _json_body(body, is_required=route.body is Body.FIELDS)
    return {**operation, "parameters": parameters}


def _narrowed(name: str, schema: Json, route: Route) -> Json:
    """A field as a route takes it: a page has at least one record, and is sorted by a field of these."""
    if name == "limit" and route.message.reply_type() and get_origin(route.message.reply_type()) is PaginatedResult:
        most = schema["maximum"]
        return {"anyOf": [{"const": -1}, {"type": "integer", "minimum": 1, "maximum": most}], "default": -1}
    return schema


def _sortable(message: type[StoreMessage[Any]], schema: Json) -> Json:
    """What a page can be sorted by: the fields of its records."""
    (record,) = cast("tuple[type[BaseModel]]", get_args(message.reply_type()))
    return {**schema, "anyOf": [{"enum": list(record.model_fields)}, {"type": "null"}]}


def _parameter(place: str, name: str, schema: Json, *, is_required: bool) -> Json:
    return {"name": name, "in": place, "required": is_required, "schema": _without_null(schema)}


def _without_null(schema: Json) -> Json:
    """The schema of a parameter: one that has no value is left out, for a text cannot be null."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name not in {"anyOf", "default"} or value is not None}
    if len(choices) == 1:
        return {**{name: value for name, value in rest.items() if name != "anyOf"}, **choices[0]}
    return {**rest, "anyOf": choices} if choices else rest


def _json_body(schema: Json, *, is_required: bool) -> Json:
    return {"required": is_required, "content": {"application/json": {"schema": schema}}}


def _about(message: type[StoreMessage[Any]], name: str, reply: Json, status: int) -> Json:
    summary, _, details = inspect.cleandoc(message.__doc__ or "").partition("\n")
    return {
        "operationId": name,
        "summary": summary,
        "description": details.strip(),
        "parameters": [],
        "responses": {
            str(status): {"description": "The reply", "content": {"application/json": {"schema": reply}}},
            **_error_references(),
        },
    }


def _errors() -> dict[int, list[str]]:
    """The classes of the errors that go with each status."""
    found: dict[int, list[str]] = {status: [name] for status, name in _OTHER_STATUSES.items()}
    for kind, status in STATUSES.items():
        found.setdefault(status, []).append(kind.__name__)
    return dict(sorted(found.items()))


def _error_references() -> Json:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in _errors()}


def _error_response(names: Iterable[str]) -> Json:
    return {
        "description": ", ".join(names),
        "content": {"application/json": {"schema": {"$ref": f"{_SCHEMAS}Error"}}},
    }


def _error_schema() -> Json:
    mistake: Json = {
        "type": "object",
        "properties": {"type": {"type": "string"}, "loc": {"type": "array"}, "msg": {"type": "string"}},
        "required": ["type", "loc", "msg"],
    }
    error: Json = {
        "type": "object",
        "properties": {"type": {"type": "string"}, "message": {"type": "string"}, "fields": {"type": "object"}},
        "required": ["type", "message", "fields"],
    }
    return {
        "type": "object",
        "properties": {"detail": {"anyOf": [{"type": "string"}, {"type": "array", "items": mistake}]}, "error": error},
        "required": ["detail"],
    }


def _health() -> Json:
    return {
        "operationId": "health",
        "summary": "Whether the server is alive, and of which kind; it asks for no token.",
        "parameters": [],
        "responses": {
            "200": {"description": "It is", "content": {"application/json": {"schema": {"type": "object"}}}},
            **_error_references(),
        },
    }


def _traces() -> Json:
    references = _error_references()
    forms: Json = {
        "application/x-protobuf": {"schema": {"type": "string", "format": "binary"}},
        "application/json": {"schema": {"type": "object"}},
    }
    return {
        "operationId": "traces",
        "summary": "Take spans by OTLP/HTTP: an ExportTraceServiceRequest.",
        "description": "A span is filed under the attempt that the attributes agentlightning.rollout_id and "
        "agentlightning.attempt_id name, its own or those of its resource; the others are counted in partial_success.",
        "parameters": [],
        "requestBody": {"required": True, "content": forms},
        "responses": {
            "200": {"description": "An ExportTraceServiceResponse", "content": forms},
            **{str(status): {"description": "A google.rpc.Status", "content": forms} for status in _errors()},
            **{status: references[status] for status in ("401", "403", "405")},
        },
    }
