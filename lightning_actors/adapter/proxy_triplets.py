"""`LlmProxyTraceToTriplet`: token ids and rewards from the spans that a proxy before the models wrote."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_actors.adapter.base import TraceToTripletBase
from lightning_actors.adapter.call import LLMCall
from lightning_actors.adapter.calls import DistinctCalls, read_calls
from lightning_actors.adapter.reward_match import match_rewards_by_sequence
from lightning_actors.emitter import find_reward_spans
from lightning_actors.types import Span, Triplet

__all__ = ["LlmProxyTraceToTriplet"]


class LlmProxyTraceToTriplet(TraceToTripletBase):
    """Turns each call whose token ids are known into a triplet of token ids and reward.

    Times play no part, for proxy and agent may run on machines whose clocks differ: everything goes by sequence ids.
    Calls are read in any dialect; the proxy's are LiteLLM's (``raw_gen_ai_request``, ``litellm_request``). Several
    spans of one call give one triplet. Each reward goes to the latest call with a lower sequence id that has none yet.

    Source: the rules are those of Agent Lightning 0.3.
    """

    def adapt(self, source: Sequence[Span]) -> list[Triplet]:
        """One triplet for each call with token ids of prompt and response, by sequence id; none for no spans.

        A triplet's ``prompt`` and ``response`` have ``token_ids``, its ``metadata`` has ``response_id``.

        Args:
            source: The spans of one attempt, in any order.

        Raises:
            ValueError: A span tells of a call and makes no sense; the message names the span.
        """
        ordered = sorted(source, key=lambda span: (span.sequence_id, span.start_time or 0.0))
        calls = [call for call in _distinct(read_calls(ordered)) if call.prompt_token_ids and call.response_token_ids]
        rewards = match_rewards_by_sequence([call.span for call in calls], find_reward_spans(ordered))
        return [
            Triplet(
                prompt={"token_ids": list(call.prompt_token_ids or ())},
                response={"token_ids": list(call.response_token_ids or ())},
                reward=reward,
                metadata={"response_id": call.response_id},
            )
            for call, reward in zip(calls, rewards, strict=True)
        ]


def _distinct(calls: Sequence[LLMCall]) -> list[LLMCall]:
    distinct = DistinctCalls()
    for call in calls:
        distinct.add(call)
    return distinct.found
