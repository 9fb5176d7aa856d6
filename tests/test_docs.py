"""The documents say what is: their programs run, their commands are those of the CI script, their names exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import pytest
from stand_in import serve_stand_in

import lightning_actors
from lightning_actors.demo.model import INSTALL_LINE

PROJECT: Final = Path(__file__).parents[1]
DOCUMENTS: Final = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")


def text_of(name: str) -> str:
    """A file of the project."""
    return (PROJECT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    """The code blocks of one language in a document, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(name), re.MULTILINE | re.DOTALL)


# ── the programs in the README ──

RUN_ALL: Final = """
import runpy, sys
sys.path.insert(0, "")
for name in sys.argv[1:]:
    print("==", name)
    runpy.run_path(name, run_name="__main__")
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What each program of the README prints, run in the order of the README against a model that knows capitals."""
    folder = tmp_path_factory.mktemp("readme")
    programs = {block.split("\n", 1)[0].removeprefix("# "): block for block in blocks("README.md", "python")}
    for name, program in programs.items():
        (folder / name).write_text(program, encoding="utf-8")
    capitals = {"Japan": "Tokyo", "Kenya": "Nairobi"}
    with serve_stand_in(
        lambda messages: (
            f"I was asked with {len(messages[-1]['content'])} characters, and say "
            + next(capital for country, capital in capitals.items() if country in messages[-1]["content"])
        )
    ) as model:
        done = subprocess.run(  # noqa: S603 - our own programs
            [sys.executable, "-c", RUN_ALL, *programs],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(Path(lightning_actors.__file__).parents[1]),
                "OPENAI_BASE_URL": model.base_url,
                "OPENAI_MODEL": "stand-in",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
    assert (done.returncode, done.stderr) == (0, "")
    parts = re.split(r"^== (.*)\n", done.stdout, flags=re.MULTILINE)[1:]
    return {name: printed.splitlines() for name, printed in zip(parts[::2], parts[1::2], strict=True)}


def test_the_readmes_agent_runs_by_hand_as_shown(said: dict[str, list[str]]) -> None:
    asked = "You are a helpful assistant. What is the capital of Japan?"
    answer = f"I was asked with {len(asked)} characters, and say Tokyo"
    (shown,) = (block.splitlines() for block in blocks("README.md", "text") if "agentlightning.rollout" in block)
    assert [re.sub(r"ro-\w+|\d+\.\d+m?s|\d+\+\d+|words=\d+", "…", line) for line in said["step.py"]] == [
        re.sub(r"ro-\w+|\d+\.\d+m?s|\d+\+\d+|words=\d+", "…", line)
        .replace("SmolLM2-135M-Instruct", "stand-in")
        .replace("The capital of Japan is Tokyo.", answer)
        for line in shown
    ]


def test_the_readmes_dry_run_prints_each_rollout_and_returns_the_result(said: dict[str, list[str]]) -> None:
    lines = said["dev.py"]
    assert lines[-1] == "<RunResult 2 succeeded, mean reward 0.500> [1.0, 0.0]"
    assert sum("agentlightning.rollout" in line for line in lines) == 2
    assert any("characters, and say Nairobi" in line for line in lines)


def test_the_readmes_algorithm_compares_its_prompts(said: dict[str, list[str]]) -> None:
    assert said["algorithm.py"] == [
        "'You are a helpful assistant. {any_question}' earned 1.0 on 'What is the capital of Japan?'",
        "'Answer in one word. {any_question}' earned 1.0 on 'What is the capital of Japan?'",
        "<RunResult 2 succeeded, mean reward 1.000>",
    ]


def test_the_readmes_bandit_learns_from_feedback(said: dict[str, list[str]]) -> None:
    assert said["learn.py"] == [
        "'You are a helpful assistant. {any_question}': 0 rollouts, mean reward None",
        "'Answer in one word. {any_question}': 1 rollouts, mean reward 0.5",
    ]


def test_the_readmes_actors_answer(said: dict[str, list[str]]) -> None:
    assert said["till.py"] == ["6"]
    assert said["agent.py"] == []


def test_the_readmes_test_of_an_actor_passes(said: dict[str, list[str]]) -> None:
    assert said["test_bell.py"] == ["20 days, and each hour but the third was heard"]


# ── its commands ──


def test_the_readmes_store_is_kept_and_shared(said: dict[str, list[str]]) -> None:
    assert said["keep.py"] == ["succeeded 1.0", "succeeded is remembered"]


def test_the_ci_script_runs_the_readmes_commands_in_their_order() -> None:
    demo, check = (line.strip().split(" && ") for line in blocks("README.md", "bash"))
    lines = text_of(".ci/run").splitlines()
    run = [line.replace('"$python"', "python3") for line in lines[lines.index("set -x") + 1 :] if line]
    demos = [f"{demo[-1]} --require-improvement", f"{demo[-1]} cartpole --require-target"]
    assert [*check[:-1], *demos, check[-1]] == run
    assert demo[:-1] == [step.replace("[all,dev]", "[demo]") for step in check[: len(demo) - 1]]


def test_a_missing_model_prints_the_readmes_line() -> None:
    assert blocks("README.md", "bash")[0].strip() == INSTALL_LINE


def test_the_ci_script_stops_at_the_first_failure_and_can_be_run() -> None:
    script = PROJECT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "\nset -euo pipefail\n" in script.read_text(encoding="utf-8")


def test_these_tests_run_against_the_installed_package() -> None:
    try:
        installed = distribution("lightning-actors")
    except PackageNotFoundError:
        assert "CI" not in os.environ, "install the wheel before the tests: bash .ci/run"
        return
    assert Path(lightning_actors.__file__) == Path(str(installed.locate_file("lightning_actors/__init__.py")))
    assert installed.version == lightning_actors.__version__


# ── its names ──


def test_the_readme_names_every_extra() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    (sentence,) = re.findall(r"The extras are (.*?)\.\s", text_of("README.md"), re.DOTALL)
    assert set(re.findall(r"`(\w+)`", sentence)) >= set(project["optional-dependencies"])


def names_in(lines: Iterator[str]) -> set[str]:
    """What stands in backticks, without calls and assignments."""
    return {name for line in lines for name in re.findall(r"`@?([A-Za-z_]+)[^`]*`", line)}


def test_what_the_readme_calls_the_same_is_here() -> None:
    table = text_of("README.md").split("| the same |")[1].split("\n\n")[0]
    at_root = {name for name in names_in(iter(table.splitlines())) if name[0].isupper() or name.startswith("emit_")}
    assert len(at_root) > 20
    assert at_root <= set(lightning_actors.__all__)


def test_what_the_readme_calls_not_here_is_not_here() -> None:
    table = text_of("README.md").split("| not here |")[1].split("\n\n")[0]
    first_column = (line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    absent = names_in(first_column) - {"PromptTemplate"}  # it is one of its engines that is not here
    assert len(absent) > 10
    assert not [name for name in absent if hasattr(lightning_actors, name)]
    with pytest.raises(ValueError, match="engine"):
        lightning_actors.PromptTemplate(template="", engine="poml")  # pyright: ignore[reportArgumentType] - the point


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_that_a_document_names_exists(name: str) -> None:
    named = set(re.findall(r"`((?:tests|examples|benchmarks|lightning_actors)/[\w/.]+)`", text_of(name)))
    named |= {target for target in re.findall(r"\]\(([\w./]+)\)", text_of(name)) if "://" not in target}
    assert not [path for path in sorted(named) if not (PROJECT / path).exists()]


def test_every_test_that_the_architecture_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", text_of("ARCHITECTURE.md")))
    known = {
        name
        for path in (PROJECT / "tests").rglob("*.py")
        for name in (
            path.stem,
            *re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE),
        )
    }
    assert len(named) > 10
    assert not sorted(name for name in named if not any(one.startswith(name) for one in known))


def test_the_changelog_ends_with_the_version_that_is_installed() -> None:
    versions = re.findall(r"^## \[([^\]]+)\]", text_of("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert versions[1] == lightning_actors.__version__


# ── what must not stand anywhere ──

ELSEWHERE: Final = re.compile(
    r"/(?:work|root|home|tmp)/|\bDESIGN\.md|\bCONVENTIONS\.md|\bthe peer\b|\bissues? #?\d|\bclaude\b|\bcopilot\b",
    re.IGNORECASE,
)
"""Paths of somebody's machine, and papers and tools that a reader of this repository has not got."""


def texts() -> Iterator[Path]:
    """Every text of the project but this file, which has to name them."""
    for place in ("lightning_actors", "tests", "examples", "benchmarks", ".ci"):
        yield from (
            path
            for path in (PROJECT / place).rglob("*")
            if path.is_file() and path.suffix != ".pyc" and path != Path(__file__)
        )
    yield from (path for path in PROJECT.iterdir() if path.suffix in {".md", ".toml"} or path.name == "LICENSE")


def test_nothing_names_what_a_reader_has_not_got() -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{number}: {match[0]}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (match := ELSEWHERE.search(line))
    ]
    assert not found
