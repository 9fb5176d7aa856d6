"""What the user writes: an agent, as a function with `@rollout` or as a class.

```
@rollout                                       class Answerer(LitAgent[str]):
async def answer(task: str, llm: LLM):             async def rollout_async(self, task, resources, rollout):
    ...                                                ...
    return reward                                      return reward
```
"""

from __future__ import annotations

from lightning_actors.litagent.base import LitAgent
from lightning_actors.litagent.functional import FunctionalLitAgent, llm_rollout, prompt_rollout, rollout

__all__ = ["FunctionalLitAgent", "LitAgent", "llm_rollout", "prompt_rollout", "rollout"]
