"""Every example runs as a program of its own, against a model whose answers are computed from what it is asked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
from stand_in import Message, StandIn, serve_stand_in

import lightning_actors
from lightning_actors.demo.model import INSTALL_LINE

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
CAPITALS: Final = {"Japan": "Tokyo", "France": "Paris", "Australia": "Canberra", "Kenya": "Nairobi"}
HELPFUL: Final = "You are a helpful assistant. What is the capital of {}?"
CAREFUL: Final = "Answer with the name of the city and nothing else. What is the capital of {}?"


def answer(messages: Sequence[Message]) -> str:
    """Name the capital of the country in the question; for France only if the prompt asks for a city."""
    prompt: str = messages[-1]["content"]
    (country,) = (country for country in CAPITALS if country in prompt)
    capital = CAPITALS[country] if country != "France" or "city" in prompt else "a long story"
    return f"To {len(prompt)} characters about {country} I say {capital}."


def answered(prompt: str) -> str:
    """What the model says to this prompt."""
    return answer([{"role": "user", "content": prompt}])


def reward(prompt: str, country: str) -> float:
    """What the examples' agent earns with this prompt."""
    return float(CAPITALS[country] in answered(prompt.format(country)))


@pytest.fixture(scope="module")
def model() -> Iterator[StandIn]:
    """A model served on loopback."""
    with serve_stand_in(answer) as stand_in:
        yield stand_in


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with the package that these tests run against."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "OTEL_"))}
    package = str(Path(lightning_actors.__file__).parents[1])
    return subprocess.run(  # noqa: S603 - our own examples
        [sys.executable, *arguments],
        cwd=EXAMPLES.parent,
        env={**kept, "PYTHONPATH": package, "PYTHONWARNINGS": "error", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def output_of(example: str, model: StandIn) -> str:
    """What an example prints when all goes well."""
    done = run(str(EXAMPLES / example), OPENAI_BASE_URL=model.base_url, OPENAI_MODEL="stand-in")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_debug_step_shows_one_rollout_with_prompt_answer_and_reward(model: StandIn) -> None:
    said = output_of("debug_step.py", model)
    prompt = HELPFUL.format("Japan")
    assert re.search(r"^ro-\w{12} succeeded: \{'country': 'Japan'", said, re.MULTILINE)
    assert f"← user: {prompt}\n" in said
    assert f"→ assistant: {answered(prompt)}\n" in said
    assert said.index("agentlightning.rollout") < said.index("─ chat stand-in") < said.index("─ reward 1")
    assert said.endswith("final reward: 1.0\n")


def test_debug_step_with_a_model_that_does_not_know_earns_nothing() -> None:
    with serve_stand_in(lambda messages: f"I have read {len(messages)} message and know nothing") as ignorant:
        said = output_of("debug_step.py", ignorant)
    assert "→ assistant: I have read 1 message and know nothing\n" in said
    assert said.endswith("final reward: 0.0\n")


def test_debug_step_hooks_tells_of_a_good_rollout_and_of_a_failed_one(model: StandIn) -> None:
    assert output_of("debug_step_hooks.py", model).splitlines() == [
        "rollout starts: {'country': 'Japan', 'capital': 'Tokyo'}",
        "trace starts",
        "trace ends with 3 spans so far",
        "rollout ends: agentlightning.message, chat stand-in, agentlightning.annotation, agentlightning.rollout",
        "final reward: 1.0",
        "rollout starts: {'country': 'France', 'capital': 'Paris'}",
        "trace starts",
        "trace ends with 1 spans so far",
        "rollout ends: agentlightning.message, agentlightning.rollout",
        "final reward: None",
        "the agent wants llm: LLM and was given main_prompt: PromptTemplate",
    ]


def test_debug_dev_prints_every_task_with_its_reward_and_spans(model: StandIn) -> None:
    said = output_of("debug_dev.py", model)
    for country in CAPITALS:
        assert f"← user: {HELPFUL.format(country)}\n" in said
        assert f"→ assistant: {answered(HELPFUL.format(country))}\n" in said
    assert said.count("agentlightning.rollout") == len(CAPITALS)
    assert "<RunResult 4 succeeded, mean reward 0.750>" in said
    assert said.splitlines()[-4:] == [f"{country}: reward {reward(HELPFUL, country)}" for country in CAPITALS]


def test_debug_both_files_every_span_under_its_own_rollout(model: StandIn) -> None:
    said = output_of("debug_both.py", model).splitlines()
    assert [line for line in said if line.startswith("a ")] == [
        "a step",
        "a dry run in the same event loop",
        "a dry run beside steps",
    ]
    assert said[-2:] == [
        "by hand: 5 rollouts, 5 with exactly their own call of the model",
        "by the trainer: 4 rollouts, 4 with exactly their own call of the model",
    ]


def scores() -> list[str]:
    """What the custom algorithm should find."""
    lines: list[str] = []
    for prompt in (HELPFUL, CAREFUL):
        mean = sum(reward(prompt, country) for country in CAPITALS) / len(CAPITALS)
        lines.append(f"score {mean:.2f}: {prompt.replace('What is the capital of {}?', '{any_question}')}")
    return lines


def test_custom_algorithm_scores_both_prompts_and_publishes_the_better_one(model: StandIn) -> None:
    said = output_of("custom_algorithm.py", model)
    for prompt in (template.format(country) for template in (HELPFUL, CAREFUL) for country in CAPITALS):
        assert f"chat stand-in\n  prompt: {prompt}\n  answer: {answered(prompt)}\n" in said
    lines = said.splitlines()
    assert [line for line in lines if line.startswith("score")] == scores()
    assert lines[-1].startswith("latest resources: ")
    assert "Answer with the name of the city" in lines[-1]


UNDER_A_TRAINER: Final = """
import sys
sys.path.insert(0, sys.argv[1])
import lightning_actors as agl
from capitals import QUESTIONS, model_or_exit, name_capital
from custom_algorithm import best_prompt
with model_or_exit() as llm:
    trainer = agl.Trainer(algorithm=best_prompt, n_workers=2, initial_resources={"llm": llm})
    result = trainer.fit(name_capital, QUESTIONS)
print(result.resources.resources["main_prompt"].template)
"""


def test_the_same_algorithm_runs_unchanged_under_a_trainer(model: StandIn) -> None:
    done = run("-c", UNDER_A_TRAINER, str(EXAMPLES), OPENAI_BASE_URL=model.base_url, OPENAI_MODEL="stand-in")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("score")] == scores()
    assert lines[-1] == "Answer with the name of the city and nothing else. {any_question}"


def test_replay_bad_run_repeats_the_bad_run_and_mends_it(model: StandIn) -> None:
    said = output_of("replay_bad_run.py", model).splitlines()
    assert sorted(said[:4]) == sorted(f"{country}: reward {reward(HELPFUL, country)}" for country in CAPITALS)
    assert re.fullmatch(r"a bad run: ro-\w{12} \{'country': 'France', 'capital': 'Paris'\}", said[4])
    assert said[5:] == [
        f"replayed with the same resources: reward {reward(HELPFUL, 'France')}",
        f"replayed with another prompt: reward {reward(CAREFUL, 'France')}",
    ]


@pytest.mark.parametrize("example", ["debug_step.py", "debug_dev.py"])
def test_an_endpoint_without_a_model_is_one_line_that_says_what_to_set(example: str) -> None:
    done = run(str(EXAMPLES / example), OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "set OPENAI_MODEL" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_model_is_an_error_with_the_line_that_installs_it() -> None:
    script = f"import runpy, sys; sys.modules['xllamacpp'] = None; sys.path.insert(0, {str(EXAMPLES)!r}); "
    done = run("-c", script + f"runpy.run_path({str(EXAMPLES / 'debug_step.py')!r}, run_name='__main__')")
    assert (done.returncode, done.stdout) == (1, "")
    assert INSTALL_LINE in done.stderr
    assert "Traceback" not in done.stderr


_PARTS: Final = {"capitals.py", "benchmark_results.py", "benchmark_summary.py", "benchmark_tasks.py"}


def test_every_example_is_a_program_with_a_main_and_is_tested_here() -> None:
    tests = [*Path(__file__).parent.glob("*.py"), Path(__file__).parents[1] / "benchmark_place.py"]
    here = "".join(path.read_text(encoding="utf-8") for path in tests)
    for path in EXAMPLES.glob("*.py"):
        if path.name in _PARTS | {"two_actors.py"}:  # the kernel's
            continue
        assert "\nif __name__ == " in path.read_text(encoding="utf-8")
        assert f'"{path.name}"' in here
