"""The notebook, executed by a kernel as a user's would be: in a process with an event loop of its own."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from nbclient import NotebookClient
from stand_in import Message, serve_stand_in

import lightning_actors

nbformat: Any = importlib.import_module("nbformat")  # it has no types

NOTEBOOK: Final = Path(__file__).parents[2] / "examples" / "notebook.ipynb"
CAPITALS: Final = {"Japan": "Tokyo", "France": "Paris", "Australia": "Sydney", "Kenya": "Nairobi"}


def answer(messages: Sequence[Message]) -> str:
    """Name the capital, and be wrong about one."""
    (country,) = (country for country in CAPITALS if country in messages[-1]["content"])
    return f"I say that it is {CAPITALS[country]}."


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The cells by id, after a kernel has executed them all."""
    place = tmp_path_factory.mktemp("jupyter")
    with serve_stand_in(answer) as model, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(lightning_actors.__file__).parents[1]))
        patch.setenv("OPENAI_BASE_URL", model.base_url)
        patch.setenv("OPENAI_MODEL", "stand-in")
        for variable in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
            patch.setenv(variable, str(place))  # what they write and read belongs to nobody's home
        notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
        NotebookClient(
            notebook, timeout=50, kernel_name="python3", resources={"metadata": {"path": str(place)}}
        ).execute()
        yield {cell.id: cell for cell in notebook.cells}


def text_of(cell: Any) -> str:
    """What a cell printed and showed; warnings and errors, which go to stderr, are not expected."""
    outputs: list[dict[str, Any]] = cell.outputs
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    return "".join(output.get("text") or output["data"]["text/plain"] for output in outputs)


def test_a_step_is_awaited_in_a_cell_and_shows_what_it_did(executed: dict[str, Any]) -> None:
    assert re.fullmatch(r"<AttemptedRollout ro-\w{12} succeeded attempt 1 succeeded>", text_of(executed["step"]))
    *tree, reward = text_of(executed["spans"]).splitlines()
    assert [re.sub(r"  \d+\.\d+m?s.*", "", line) for line in tree] == [
        "agentlightning.rollout",
        "├─ chat stand-in",
        "│      ← user: What is the capital of Japan?",
        "│      → assistant: I say that it is Tokyo.",
        "└─ reward 1",
    ]
    assert reward == "1.0"


def test_many_steps_are_handed_out_in_a_cell(executed: dict[str, Any]) -> None:
    expected = [f"{country}: succeeded, reward {float(country != 'Australia')}" for country in CAPITALS]
    assert sorted(text_of(executed["many"]).splitlines()) == sorted(expected)


def test_a_trainer_runs_in_the_kernels_loop(executed: dict[str, Any]) -> None:
    said = text_of(executed["dev"])
    assert said.endswith("<RunResult 2 succeeded, mean reward 1.000>")
    assert said.count("─ chat stand-in") == 2


def test_every_cell_was_executed_without_a_warning_or_an_error(executed: dict[str, Any]) -> None:
    cells = [cell for cell in executed.values() if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        text_of(cell)


def test_the_notebook_is_kept_without_outputs_in_the_form_in_which_it_is_saved() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    notebook: Any = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert nbformat.writes(notebook) + "\n" == text
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
