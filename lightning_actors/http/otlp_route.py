"""``POST /v1/traces``: spans from any OTLP/HTTP exporter, filed under the rollouts that they name.

Source: requests, answers and errors are those of the OTLP specification.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from anyio.lowlevel import checkpoint
from google.protobuf import json_format
from google.protobuf.message import Message as ProtobufMessage
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from lightning_actors.error_text import describe, text_of
from lightning_actors.errors import AttemptNotFound, BoundExceeded, RolloutNotFound, StoreNotWritten
from lightning_actors.http.reading import BadRequest, read_body
from lightning_actors.http.served import ServedStore
from lightning_actors.http.wire_errors import is_foreseen, status_of
from lightning_actors.log import get_logger
from lightning_actors.otlp.decoding import Decoded, decode, read_json, read_protobuf
from lightning_actors.store.messages import AddManySpans
from lightning_actors.types import Span

__all__ = ["traces_of"]

log = get_logger("lightning_actors.http")

_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_AGAIN: Final = 503
"""The status after which exporters try again, by OpenTelemetry's protocol; they drop what is refused by a 507."""
_AT_ONCE: Final = 64
"""How many spans are decoded before others have their turn."""


def traces_of(served: ServedStore) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint that takes spans for a store."""

    async def traces(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in {_PROTOBUF, _JSON}:
            return _refusal(400, f"spans are taken as {_PROTOBUF} or {_JSON}, not as {kind!r}", _PROTOBUF)
        try:
            return _answer(await _taken(served, request, is_json=kind == _JSON), kind)
        except Exception as error:  # noqa: BLE001 - boundary: HTTP
            return _failure(error, kind)

    return traces


async def _taken(served: ServedStore, request: Request, *, is_json: bool) -> Counter[str]:
    """File what a request brings; answers what could not be filed, by the reason."""
    body = await read_body(request, served.limits)
    try:
        message = read_json(body) if is_json else read_protobuf(body)
    except ValueError as error:
        raise BadRequest(400, str(error)) from None
    decoded = Decoded()
    for count, _ in enumerate(decode(message, decoded), 1):
        served.check_batch(count)
        if count % _AT_ONCE == 0:
            await checkpoint()
    unfiled = await _filed(served, decoded.spans)
    unfiled["that name no agentlightning.rollout_id and agentlightning.attempt_id"] += decoded.nameless
    unfiled["without a span id"] += decoded.without_id
    served.unfiled_spans += unfiled.total()
    if unfiled.total():
        log.warning("spans_not_filed", count=unfiled.total(), why=_in_words(unfiled))
    return unfiled


async def _filed(served: ServedStore, spans: list[Span]) -> Counter[str]:
    by_attempt: dict[tuple[str, str], list[Span]] = {}
    for span in spans:
        by_attempt.setdefault((span.rollout_id, span.attempt_id), []).append(span)
    unfiled: Counter[str] = Counter()
    for (rollout_id, attempt_id), batch in by_attempt.items():
        try:
            await served.carry(AddManySpans(batch))
        except RolloutNotFound:
            unfiled[f"of the unknown rollout {rollout_id!r}"] += len(batch)
        except AttemptNotFound:
            unfiled[f"of the unknown attempt {attempt_id!r} of rollout {rollout_id!r}"] += len(batch)
    return unfiled


def _in_words(unfiled: Counter[str]) -> str:
    return "; ".join(f"{count} spans {why}" for why, count in unfiled.items() if count)[:2_000]


def _answer(unfiled: Counter[str], kind: str) -> Response:
    response = ExportTraceServiceResponse()
    if unfiled.total():
        response.partial_success.rejected_spans = unfiled.total()
        response.partial_success.error_message = f"not filed: {_in_words(unfiled)}"
    return Response(_written(response, kind), media_type=kind)


def _written(message: ProtobufMessage, kind: str) -> bytes:
    if kind == _JSON:
        return json_format.MessageToJson(message, indent=None).encode()
    return message.SerializeToString()


def _failure(error: Exception, kind: str) -> Response:
    if isinstance(error, BadRequest):
        return _refusal(error.status, str(error), kind)
    if isinstance(error, BoundExceeded):
        return _refusal(413, str(error), kind)
    status = _AGAIN if isinstance(error, StoreNotWritten) else status_of(error)
    if not is_foreseen(error):
        log.error("spans_not_stored", error=describe(error), exc_info=error)
    return _refusal(status, text_of(error), kind)


def _refusal(status: int, why: str, kind: str) -> Response:
    """A ``google.rpc.Status`` with this message, in the form of the request."""
    if kind == _JSON:
        body = to_json({"message": why})
    else:
        text = why.encode()
        body = b"\x12" + _varint(len(text)) + text  # its second field, a string
    return Response(body, status, media_type=kind)


def _varint(number: int) -> bytes:
    parts: list[int] = []
    while number > 0x7F:  # noqa: PLR2004 - seven bits to a byte
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
