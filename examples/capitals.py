"""What the examples share: an agent that asks a language model for capitals, its tasks, its prompt, and the model.

The model is the endpoint in ``OPENAI_BASE_URL`` (with ``OPENAI_MODEL`` and, where needed, ``OPENAI_API_KEY``), else
SmolLM2 in this process.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Final, TypedDict

from openai import AsyncOpenAI

import lightning_actors as agl
from lightning_actors.demo.model import language_model


class Question(TypedDict):
    """One task: a country, and the capital that the answer should name."""

    country: str
    capital: str


QUESTIONS: Final[list[Question]] = [
    {"country": "Japan", "capital": "Tokyo"},
    {"country": "France", "capital": "Paris"},
    {"country": "Australia", "capital": "Canberra"},
    {"country": "Kenya", "capital": "Nairobi"},
]

PROMPT: Final = agl.PromptTemplate(template="You are a helpful assistant. {any_question}", engine="f-string")


@agl.rollout
async def name_capital(task: Question, llm: agl.LLM, prompt_template: agl.PromptTemplate) -> float:
    """Ask for the capital of a country; the reward is 1 if the answer names it, else 0."""
    prompt = prompt_template.format(any_question=f"What is the capital of {task['country']}?")
    async with AsyncOpenAI(base_url=llm.endpoint, api_key=llm.api_key or "none") as client:
        response = await client.chat.completions.create(
            model=llm.model,
            messages=[{"role": "user", "content": prompt}],
            max_tokens=24,
            temperature=0.0,
        )
    answer = response.choices[0].message.content or ""
    return float(task["capital"].lower() in answer.lower())


@contextmanager
def model_or_exit() -> Generator[agl.LLM]:
    """The language model while the block runs; where there is none, the program ends and says how to get one."""
    with ExitStack() as stack:
        try:
            llm = stack.enter_context(language_model())
        except agl.ConfigError as error:
            sys.exit(str(error))
        yield llm
