"""How spans tell of a call of a language model: one file for each dialect, one function that reads them all.

Of a span that speaks several, the first in `DIALECTS` is heard: those that keep most stand first.
"""

from __future__ import annotations

from typing import Final

from lightning_actors.adapter.call import LLMCall
from lightning_actors.adapter.dialects.dialect import Dialect
from lightning_actors.adapter.dialects.fields import SpanFields
from lightning_actors.adapter.dialects.genai import GENAI
from lightning_actors.adapter.dialects.litellm import LITELLM
from lightning_actors.adapter.dialects.openinference import OPENINFERENCE
from lightning_actors.adapter.dialects.openllmetry import OPENLLMETRY
from lightning_actors.types import Span

__all__ = ["DIALECTS", "Dialect", "read_call"]

DIALECTS: Final = (LITELLM, OPENINFERENCE, OPENLLMETRY, GENAI)
"""The dialects that are understood, in the order in which they are tried."""


def read_call(span: Span) -> LLMCall | None:
    """The call of a language model that a span tells of; None if it tells of something else.

    Args:
        span: Any span of a rollout.

    Raises:
        ValueError: It tells of a call and makes no sense; the message names the span and the attribute.
    """
    for dialect in DIALECTS:
        if dialect.recognises(span):
            return dialect.read(SpanFields(span))
    return None
