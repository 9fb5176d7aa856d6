"""The demonstration from end to end, on a stand-in whose answers depend on the prompt as a small model's do."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Callable, Sequence

import pytest
from stand_in import Message, serve_stand_in
from starlette.exceptions import HTTPException

from lightning_actors.demo.chart import draw_bar, draw_curve, moving_mean
from lightning_actors.demo.countries import load_countries
from lightning_actors.demo.run import DemoReport, run_demo
from lightning_actors.errors import RunnerError

CONTINENTS = {country["name"]: country["continent"] for country in load_countries()}


def imitating(messages: Sequence[Message]) -> str:
    """Answer in a sentence, but with the name alone once the chat shows how."""
    asked = str(messages[-1]["content"])
    name = max((name for name in CONTINENTS if name in asked), key=len)
    if any(message["role"] == "assistant" for message in messages):
        return CONTINENTS[name]
    return f"{name} lies in {CONTINENTS[name]}, as far as I know."


def demonstrate(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[Sequence[Message]], str], *, budget: int = 96
) -> tuple[DemoReport | None, str, int]:
    """The report, what was printed, and how many requests the model got."""
    out = io.StringIO()
    with serve_stand_in(answer) as stand_in:
        monkeypatch.setenv("OPENAI_BASE_URL", stand_in.base_url)
        monkeypatch.setenv("OPENAI_MODEL", "stand-in")
        report = run_demo(budget=budget, held_out=10, out=out)
    return report, out.getvalue(), len(stand_in.requests)


def test_the_prompt_gets_better_and_everything_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    report, printed, requests = demonstrate(monkeypatch, imitating)
    assert report is not None
    assert (report.before.exact, report.before.contains) == (0.0, 1.0)
    assert (report.after.exact, report.after.contains) == (1.0, 1.0)
    assert 0 < report.majority < 1
    assert requests == report.search.rollouts + report.search.held_out_rollouts == len(report.run.rollouts)

    assert printed.startswith("stand-in at http://127.0.0.1:")
    steps = re.findall(
        r"^ *\d+ s +(\d+)/116  (round \d of 3|held-out, \w+) +exact \d\.\d\d in +\d+  ", printed, re.MULTILINE
    )
    assert [int(done) for done, _ in steps] == sorted(int(done) for done, _ in steps)
    assert int(steps[-1][0]) == requests
    for line in report.search.prompt.template.splitlines():
        assert f"\n    {line}\n" in printed
    assert re.search(r"^├─ chat stand-in +\d+.\d+m?s", printed, re.MULTILINE)
    assert re.search(r"^└─ reward 1$", printed, re.MULTILINE)
    assert "mean reward of the last 24 rollouts" in printed
    assert re.search(r"^  exact +0\.00 +1\.00$", printed, re.MULTILINE)
    assert re.search(r"^  contains +1\.00 +1\.00$", printed, re.MULTILINE)
    assert f"{report.search.rollouts} rollouts searched, 20 held out; 0 failed, 0 without reward" in printed


def test_failed_requests_are_counted_and_the_first_one_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def moody(messages: Sequence[Message]) -> str:
        if len(str(messages[-1]["content"])) % 3 == 0:
            raise HTTPException(400, "not in the mood")
        return imitating(messages)

    report, printed, _ = demonstrate(monkeypatch, moody)
    assert report is not None
    assert report.search.failed == len(report.run.errors) > 0
    assert f"{report.search.failed} failed" in printed
    assert re.search(r"^the first that failed: ro-\w+: .*not in the mood", printed, re.MULTILINE)


def test_a_model_that_refuses_everything_ends_the_demonstration_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: Sequence[Message]) -> str:
        raise HTTPException(401, "no key")

    with pytest.raises(RunnerError, match=r"of round 1 of 3 failed, the first one with: .*no key"):
        demonstrate(monkeypatch, refuse)


@pytest.mark.parametrize(("after", "has_prompt"), [(1, False), (40, True)])
def test_an_interrupt_ends_it_in_order_with_the_best_prompt_so_far(
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    has_prompt: bool,  # noqa: FBT001 - a case
) -> None:
    asked = 0

    def interrupting(messages: Sequence[Message]) -> str:
        nonlocal asked
        asked += 1
        if asked == after:
            os.kill(os.getpid(), signal.SIGINT)
        return imitating(messages)

    report, printed, requests = demonstrate(monkeypatch, interrupting)
    assert report is None
    assert after <= requests < 96
    assert "Interrupted before the held-out report" in printed
    assert ("The best prompt so far" in printed) is has_prompt


def test_a_moving_mean_begins_with_what_there_is() -> None:
    assert moving_mean([1, 0, 0, 1], 2) == [1, 0.5, 0, 0.5]


def test_a_curve_is_plain_text_that_fits_a_terminal() -> None:
    drawn = draw_curve([0.0] * 30 + [1.0] * 30, window=10)
    assert "\x1b" not in drawn
    assert max(map(len, drawn.splitlines())) <= 80
    assert "mean reward of the last 10 rollouts" in drawn


def test_a_bar_is_as_long_as_its_share_to_an_eighth_of_a_character() -> None:
    assert draw_bar(500, top=500) == draw_bar(900, top=500) == "█" * 25
    assert draw_bar(250, top=500) == "█" * 12 + "▌"
    assert draw_bar(0, top=500) == draw_bar(-1, top=500) == ""
