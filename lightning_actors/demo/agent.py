"""The agent: asks the model with the prompt it is given, and scores the answer.

```
the prompt, filled in                        what the model is sent
system: Answer with the name only.           {"role": "system", "content": "Answer with the name only."}
user: Which continent is Peru in?            {"role": "user", "content": "Which continent is Peru in?"}
assistant: South America                     {"role": "assistant", "content": "South America"}
user: Which continent is Kenya in?           {"role": "user", "content": "Which continent is Kenya in?"}
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lightning_actors.demo.countries import Country, is_contained, is_exact
from lightning_actors.emitter import emit_annotation
from lightning_actors.litagent import LitAgent, rollout
from lightning_actors.types import LLM, PromptTemplate, Rollout

if TYPE_CHECKING:  # belongs to an extra
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletionMessageParam

__all__ = ["chat_messages", "continent_agent"]

_ROLES: Final = ("system", "user", "assistant")
# No continent's name takes more than four tokens, so that a longer answer cannot be exact: while the search looks for
# exact answers, it need not wait for the rest. A held-out answer is also asked whether it mentions the continent.
_TRAIN_TOKENS: Final = 8
_HELD_OUT_TOKENS: Final = 24


def continent_agent(client: AsyncOpenAI) -> LitAgent[Country]:
    """An agent that names the continent of a country.

    Its reward is 1 for an exact answer and 0 for any other. The answer, and whether it mentions the continent, stand
    in the trace as an annotation with the keys ``answer`` and ``is_contained``.

    Args:
        client: Sends the requests; the model's name comes with the resources.
    """

    @rollout
    async def name_continent(task: Country, prompt_template: PromptTemplate, llm: LLM, rollout: Rollout) -> float:
        messages: Any = chat_messages(prompt_template.format(country=task["name"]))
        completion = await client.chat.completions.create(
            model=llm.model,
            messages=messages,
            temperature=0,
            max_tokens=_TRAIN_TOKENS if rollout.mode == "train" else _HELD_OUT_TOKENS,
        )
        answer = completion.choices[0].message.content or ""
        emit_annotation({"answer": answer, "is_contained": is_contained(answer, task["continent"])})
        return float(is_exact(answer, task["continent"]))

    return name_continent


def chat_messages(prompt: str) -> list[ChatCompletionMessageParam]:
    """Read a prompt as the messages of a chat.

    Args:
        prompt: Lines that begin with ``system:``, ``user:`` or ``assistant:`` begin a message; other lines continue
            the one above. Text before the first of them is the user's.

    Returns:
        The messages, in order; those without content are left out.
    """
    messages: list[tuple[str, list[str]]] = []
    for line in prompt.splitlines():
        role, colon, content = line.partition(":")
        if colon and role in _ROLES:
            messages.append((role, [content]))
        elif messages:
            messages[-1][1].append(line)
        else:
            messages.append(("user", [line]))
    texts = [(role, "\n".join(lines).strip()) for role, lines in messages]
    made: Any = [{"role": role, "content": text} for role, text in texts if text]
    return made
