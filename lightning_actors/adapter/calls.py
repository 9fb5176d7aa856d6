"""The calls of a language model in a trace: read from its spans, each call once."""

from __future__ import annotations

from collections.abc import Iterable

from lightning_actors.adapter.call import LLMCall, ToolCall
from lightning_actors.adapter.dialects import read_call
from lightning_actors.adapter.dialects.tool_span import tool_call_on
from lightning_actors.types import Span

__all__ = ["DistinctCalls", "read_calls"]


def read_calls(spans: Iterable[Span]) -> list[LLMCall]:
    """Every span that tells of a call of a model, with the tool calls on spans right below it, in the order given.

    Raises:
        ValueError: A span tells of a call and makes no sense; the message names the span.
    """
    calls: list[LLMCall] = []
    tools: dict[str, list[ToolCall]] = {}
    for span in spans:
        if (call := read_call(span)) is not None:
            calls.append(call)
        elif span.parent_id is not None and (tool := tool_call_on(span)) is not None:
            tools.setdefault(span.parent_id, []).append(tool)
    return [call.with_tool_calls(tuple(tools.get(call.span.span_id, ()))) for call in calls]


class DistinctCalls:
    """Calls as they are found, each once, though several libraries may have written spans of it.

    Two spans tell of the same call if they name the same response; or if one stands below the other and only one of
    them, or neither, names a response. The first that was found stays, and takes from others what it does not tell.
    """

    def __init__(self) -> None:
        self.found: list[LLMCall] = []
        self._by_response: dict[str, int] = {}

    def add(self, call: LLMCall, above: int | None = None) -> int:
        """Take in a call.

        Args:
            call: The call.
            above: The place of the nearest call whose span stands above its own.

        Returns:
            The place of the call in ``found``: its own, or that of the same call.
        """
        place = self._same(call, above)
        if place is None:
            place = len(self.found)
            self.found.append(call)
        else:
            self.found[place] = self.found[place].filled_from(call)
        if (response := self.found[place].response_id) is not None:
            self._by_response.setdefault(response, place)
        return place

    def _same(self, call: LLMCall, above: int | None) -> int | None:
        if call.response_id is not None and call.response_id in self._by_response:
            return self._by_response[call.response_id]
        if above is not None and (call.response_id is None or self.found[above].response_id is None):
            return above
        return None
