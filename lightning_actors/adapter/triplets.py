"""`TracerTraceToTriplet`: prompts, responses and rewards from the spans that a tracer wrote.

```
spans ─ read_calls ─ span_forest ─ repaired ─ the calls that are wanted, each once ─ rewards matched ─ Triplet
```
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lightning_actors.adapter.agent_name import agent_name
from lightning_actors.adapter.base import TraceToTripletBase
from lightning_actors.adapter.call import LLMCall
from lightning_actors.adapter.calls import DistinctCalls, read_calls
from lightning_actors.adapter.repair import repaired
from lightning_actors.adapter.reward_match import RewardMatchPolicy, match_rewards_by_time
from lightning_actors.adapter.span_tree import SpanNode, span_forest, top_down
from lightning_actors.emitter import is_reward_span
from lightning_actors.log import get_logger
from lightning_actors.types import Span, Triplet

__all__ = ["TracerTraceToTriplet"]

log = get_logger("lightning_actors.adapter")

_NAMES_SHOWN: Final = 5


class TracerTraceToTriplet(TraceToTripletBase):
    r"""Turns each call of a model into a triplet of prompt, response and reward.

    A span is a call if it tells of one in any dialect that is understood (`lightning_actors.adapter.dialects`);
    ``llm_call_match`` and ``agent_match`` narrow that down. Several spans of one call (the same response id, or one
    inside the other) give one triplet.

    Args:
        repair_hierarchy: Put spans that float at the top of the trace below the shortest span that encloses them in
            time, so that an agent is found for them; never below a call.
        llm_call_match: A regular expression that must be found in the name of a call's span; None for any name. Agent
            Lightning's default, ``openai\.chat\.completion``, names the spans of AgentOps; ours are ``chat <model>``.
        agent_match: A regular expression that must be found in the name of the agent that made the call: the nearest
            one named on its span or above. None for any agent, or none.
        exclude_llm_call_in_reward: Leave out calls made below a span that holds a reward: those of a judge.
        reward_match: ``FIRST_OCCURRENCE`` gives each reward, in order of time, to the latest call that had ended by
            then and has none yet. ``FIRST_SIBLING`` does so among calls right below the span that the reward is below.

    Raises:
        ValueError: An expression is no regular one, or the policy is unknown.

    Source: options, defaults and the rules of matching are those of Agent Lightning 0.3, but for the default of
    ``llm_call_match``.
    """

    def __init__(
        self,
        repair_hierarchy: bool = True,  # noqa: FBT001, FBT002 - positional in Agent Lightning
        llm_call_match: str | None = None,
        agent_match: str | None = None,
        exclude_llm_call_in_reward: bool = True,  # noqa: FBT001, FBT002 - positional in Agent Lightning
        reward_match: RewardMatchPolicy | str = RewardMatchPolicy.FIRST_OCCURRENCE,
    ) -> None:
        self.repair_hierarchy = repair_hierarchy
        self.exclude_llm_call_in_reward = exclude_llm_call_in_reward
        self.reward_match = RewardMatchPolicy(reward_match)
        self._llm_call_match = _compiled("llm_call_match", llm_call_match)
        self._agent_match = _compiled("agent_match", agent_match)

    def adapt(self, source: Sequence[Span]) -> list[Triplet]:
        """One triplet for each call, by start time; none for no spans.

        A triplet's ``prompt`` has ``token_ids`` (empty where unknown), ``raw_content`` (messages in OpenAI's form) and
        ``image_urls``; its ``response`` has ``token_ids``, ``raw_content`` (the answers, each with its
        ``finish_reason`` where that is known) and, where known, ``logprobs`` (an object for each token); its
        ``metadata`` has ``request``, ``response``, ``response_id`` and ``agent_name``.

        Takes n log n steps for n spans, however deep their tree is.

        Args:
            source: The spans of one attempt, in any order.

        Raises:
            ValueError: A span tells of a call and makes no sense; the message names the span.
        """
        calls = {id(call.span): call for call in read_calls(source)}
        self._warn_if_no_name_fits([call.span.name for call in calls.values()])
        roots = span_forest(source)
        if self.repair_hierarchy:
            # Calls often overlap, and that one encloses another says nothing.
            roots = repaired(roots, lambda node: id(node.span) not in calls)
        nodes = list(top_down(roots))
        made = self._made(nodes, calls)
        rewards = [node for node in nodes if is_reward_span(node.span)]
        by_sibling = self.reward_match is RewardMatchPolicy.FIRST_SIBLING
        _reward(made, rewards, _siblings if by_sibling else _whole_trace)
        return [one.triplet() for one in sorted(made, key=_begun)]

    def _warn_if_no_name_fits(self, names: Sequence[str]) -> None:
        expression = self._llm_call_match
        if names and expression is not None and not any(map(expression.search, names)):
            shown = sorted(set(names))[:_NAMES_SHOWN]
            log.warning("no_llm_call_has_such_a_name", llm_call_match=expression.pattern, names=shown)

    def _made(self, nodes: Iterable[SpanNode], calls: Mapping[int, LLMCall]) -> list[_Made]:
        """The calls that are wanted, each once; calls are known by their spans."""
        made: list[_Made] = []
        distinct = DistinctCalls()
        scopes: dict[int, _Scope] = {}
        outermost = _Scope(is_wanted=self._agent_match is None)
        for node in nodes:
            outer = outermost if node.parent is None else scopes[id(node.parent)]
            scope = self._entered(node.span, outer)
            call = calls.get(id(node.span))
            if call is not None and scope.is_wanted and not outer.is_judging and self._has_wanted_name(node.span):
                place = distinct.add(call, outer.call)
                if place == len(made):
                    made.append(_Made(node, call, scope.agent))
                made[place].call = distinct.found[place]
                scope = replace(scope, call=place)
            scopes[id(node)] = scope
        return made

    def _entered(self, span: Span, outer: _Scope) -> _Scope:
        """What holds on a span and below it, from what holds around it."""
        name = agent_name(span)
        is_judging = outer.is_judging or (self.exclude_llm_call_in_reward and is_reward_span(span))
        if name is None:
            return replace(outer, is_judging=is_judging) if is_judging else outer
        is_wanted = self._agent_match is None or self._agent_match.search(name) is not None
        return replace(outer, agent=name, is_wanted=is_wanted, is_judging=is_judging)

    def _has_wanted_name(self, span: Span) -> bool:
        return self._llm_call_match is None or self._llm_call_match.search(span.name) is not None


@dataclass(frozen=True, slots=True)
class _Scope:
    """What holds within a span: whose work it is, and the place of the nearest call."""

    agent: str | None = None
    is_wanted: bool = True
    is_judging: bool = False
    call: int | None = None


@dataclass(slots=True)
class _Made:
    """A call that was made, where, by whom, and what it earned."""

    node: SpanNode
    call: LLMCall
    agent: str | None
    reward: float | None = None

    def triplet(self) -> Triplet:
        call = self.call
        answers = [answer.as_openai() for answer in call.answers]
        for answer, reason in zip(answers, call.finish_reasons, strict=False):  # either may be known without the other
            if reason:
                answer["finish_reason"] = reason
        tools = [tool.as_openai() for tool in call.tools]
        response = {
            "id": call.response_id,
            "model": call.response_model,
            "finish_reasons": list(call.finish_reasons) or None,
        }
        return Triplet(
            prompt={
                "token_ids": list(call.prompt_token_ids or ()),
                "raw_content": [message.as_openai() for message in call.prompt],
                "image_urls": [url for message in call.prompt for url in message.image_urls],
            },
            response={
                "token_ids": list(call.response_token_ids or ()),
                "raw_content": answers,
                **({} if call.logprobs is None else {"logprobs": list(call.logprobs)}),
            },
            reward=self.reward,
            metadata={
                "request": {**call.request, **({"tools": tools} if tools else {})},
                "response": {name: value for name, value in response.items() if value is not None},
                "response_id": call.response_id,
                "agent_name": self.agent,
            },
        )


def _begun(made: _Made) -> tuple[float, int]:
    return (made.node.span.start_time or 0.0, made.node.span.sequence_id)


def _whole_trace(_node: SpanNode) -> object:
    return None


def _siblings(node: SpanNode) -> object:
    """What siblings share: the node above them, or the id of one that is not here."""
    return node.span.parent_id if node.parent is None else node.parent


def _reward(made: Sequence[_Made], rewards: Sequence[SpanNode], group_of: Callable[[SpanNode], object]) -> None:
    """Give the rewards to the calls, group by group."""
    calls_by_group: dict[object, list[_Made]] = {}
    rewards_by_group: dict[object, list[Span]] = {}
    for one in made:
        calls_by_group.setdefault(group_of(one.node), []).append(one)
    for node in rewards:
        rewards_by_group.setdefault(group_of(node), []).append(node.span)
    for group, calls in calls_by_group.items():
        matched = match_rewards_by_time([one.node.span for one in calls], rewards_by_group.get(group, []))
        for one, reward in zip(calls, matched, strict=True):
            one.reward = reward


def _compiled(option: str, expression: str | None) -> re.Pattern[str] | None:
    if expression is None:
        return None
    try:
        return re.compile(expression)
    except re.error as error:
        raise ValueError(f"{option}={expression!r} is no regular expression: {error}") from error
