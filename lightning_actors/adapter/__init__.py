"""Spans into what algorithms learn from: chat messages, triplets of prompt, response and reward.

```
Span ── dialects/ ──→ LLMCall ──┬─ TraceToMessages ────────→ messages and tools in OpenAI's form
        one file each           ├─ TracerTraceToTriplet ───→ Triplet, rewards matched by time
                                └─ LlmProxyTraceToTriplet ─→ Triplet of token ids, rewards matched by sequence id
```

Only the dialects and `agent_name` know attributes by name; the adapters work on what they read.
"""

from __future__ import annotations

from lightning_actors.adapter.base import Adapter, OtelTraceAdapter, TraceAdapter, TraceToTripletBase
from lightning_actors.adapter.call import ChatMessage, ImagePart, LLMCall, OtherPart, Part, TextPart, Tool, ToolCall
from lightning_actors.adapter.dialects import read_call
from lightning_actors.adapter.messages import OpenAIMessages, TraceToMessages
from lightning_actors.adapter.proxy_triplets import LlmProxyTraceToTriplet
from lightning_actors.adapter.reward_match import RewardMatchPolicy
from lightning_actors.adapter.triplets import TracerTraceToTriplet

__all__ = [
    "Adapter",
    "ChatMessage",
    "ImagePart",
    "LLMCall",
    "LlmProxyTraceToTriplet",
    "OpenAIMessages",
    "OtelTraceAdapter",
    "OtherPart",
    "Part",
    "RewardMatchPolicy",
    "TextPart",
    "Tool",
    "ToolCall",
    "TraceAdapter",
    "TraceToMessages",
    "TraceToTripletBase",
    "TracerTraceToTriplet",
    "read_call",
]
