"""The demonstration itself: search, then show held-out accuracy, the prompt, one rollout's spans and the curve."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

import anyio

from lightning_actors.algorithm.prompt_search import HeldOutScore, PromptSearch, PromptSearchResult, SearchProgress
from lightning_actors.demo.agent import continent_agent
from lightning_actors.demo.chart import draw_curve
from lightning_actors.demo.countries import CountrySplit, majority_share, split_countries
from lightning_actors.demo.model import language_model
from lightning_actors.demo.printer import Printer
from lightning_actors.demo.prompts import PLAIN_PROMPT, continent_search, describe_candidate
from lightning_actors.errors import ConfigError, MissingExtra
from lightning_actors.report import render_span_tree
from lightning_actors.store import LightningStore
from lightning_actors.trainer import RunResult, Trainer
from lightning_actors.types import LLM, Span

if TYPE_CHECKING:  # belongs to an extra
    from openai import AsyncOpenAI

__all__ = ["Accuracy", "DemoReport", "run_demo"]

_WINDOW: Final = 24


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How many of the held-out answers were right.

    Attributes:
        exact: Share of answers that are the continent's name and nothing else.
        contains: Share of answers that mention it somewhere.
    """

    exact: float
    contains: float


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What came of the demonstration.

    Attributes:
        before: The plain prompt on the held-out countries.
        after: The best prompt on the same countries.
        majority: The accuracy of always answering the most frequent continent.
        search: What the search found.
        run: What the trainer returned.
        seconds: How long it all took, the model's start included.
    """

    before: Accuracy
    after: Accuracy
    majority: float
    search: PromptSearchResult
    run: RunResult
    seconds: float


def run_demo(
    *,
    model: str | None = None,
    seed: int = 0,
    budget: int = 240,
    rounds: int = 3,
    workers: int = 4,
    held_out: int = 48,
    out: TextIO | None = None,
) -> DemoReport | None:
    """Improve a prompt by search and print what happens.

    Args:
        model: A model's name at ``OPENAI_BASE_URL``; None for ``OPENAI_MODEL``, or the local model without an endpoint.
        seed: Chooses the held-out countries and what the search draws.
        budget: How many rollouts the search may use; the held-out report comes on top.
        rounds: How many rounds the search has.
        workers: How many rollouts run at once.
        held_out: How many countries to judge by.
        out: Where to print; standard output by default.

    Returns:
        The report; None if the run was interrupted before there was one.

    Raises:
        ConfigError: The model is missing, or an option makes no sense.
    """
    show = _Show(out or sys.stdout)
    split = split_countries(seed, held_out=held_out)
    search = continent_search(rounds=rounds, budget=budget, seed=seed, progress=show.progress)
    with language_model(model) as llm:
        show.line(f"{llm.model} at {llm.endpoint} names the continents of countries; seed {seed}")
        show.line(
            f"up to {budget} rollouts on {len(split.train)} countries, then {len(split.held_out)} held-out ones "
            f"before and after; answers count when exact\n"
        )
        trainer = Trainer(
            algorithm=search, n_workers=workers, initial_resources={"prompt_template": PLAIN_PROMPT, "llm": llm}
        )
        try:
            report, spans = anyio.run(_improve, trainer, search, split, llm, show.seconds)
        except KeyboardInterrupt:
            show.interrupted(search)
            return None
    show.report(report, spans)
    return report


async def _improve(
    trainer: Trainer, search: PromptSearch, split: CountrySplit, llm: LLM, seconds: Callable[[], float]
) -> tuple[DemoReport, Sequence[Span]]:
    """Train, and read from the store what there is to show: the report, and the spans of one rollout."""
    # One client for all rollouts, as making one takes 40 ms; it belongs to this loop, and so the loop is ours.
    async with _client(llm) as client:
        run = await trainer.fit_async(continent_agent(client), split.train, val_dataset=split.held_out)
    before, after = search.result.before, search.result.after
    if before is None or after is None:
        raise ConfigError("the search ended without a held-out report: run it with held-out countries")
    report = DemoReport(
        before=await _accuracy(trainer.store, before),
        after=await _accuracy(trainer.store, after),
        majority=majority_share(split.held_out),
        search=search.result,
        run=run,
        seconds=seconds(),
    )
    return report, await _spans_of_success(trainer.store, run, after)


def _client(llm: LLM) -> AsyncOpenAI:
    try:
        openai: Any = importlib.import_module("openai")
    except ImportError as error:
        raise MissingExtra("the demonstration's client", extra="demo") from error
    return openai.AsyncOpenAI(base_url=llm.endpoint, api_key=llm.api_key or "none")


async def _accuracy(store: LightningStore, score: HeldOutScore) -> Accuracy:
    contained = 0
    for rollout_id in score.rollout_ids:
        spans = await store.query_spans(rollout_id, "latest")
        contained += any(bool(span.attributes.get("is_contained")) for span in spans)
    return Accuracy(exact=score.mean, contains=contained / len(score.rollout_ids))


async def _spans_of_success(store: LightningStore, run: RunResult, score: HeldOutScore) -> Sequence[Span]:
    """The spans of the first rollout that went well, else of the first one."""
    chosen = next((each for each in score.rollout_ids if run.rewards.get(each)), score.rollout_ids[0])
    return list(await store.query_spans(chosen, "latest"))


class _Show(Printer):
    """What there is to see, in the order in which it happens."""

    def progress(self, step: SearchProgress) -> None:
        self.line(
            f"{self.seconds():4.0f} s  {step.done:3d}/{step.total}  {step.stage:16}  exact {step.mean:.2f} "
            f"in {step.rollouts:2d}  {describe_candidate(step.candidate)}"
        )

    def prompt(self, title: str, found: PromptSearchResult) -> None:
        self.line(f"\n{title}:\n")
        for line in found.prompt.template.splitlines():
            self.line(f"    {line}")

    def interrupted(self, search: PromptSearch) -> None:
        self.line("\nInterrupted before the held-out report")
        try:
            found = search.result
        except ConfigError:  # not one round had ended
            return
        self.prompt(f"The best prompt so far, exact {found.best.last_mean:.2f} in training", found)

    def report(self, report: DemoReport, spans: Sequence[Span]) -> None:
        found, before, after = report.search, report.before, report.after
        self.prompt("The best prompt", found)
        self.line("\nOne held-out rollout with it:\n")
        self.line(render_span_tree(spans))
        self.line()
        self.line(draw_curve(_rewards(report), window=_WINDOW))
        count = len(found.before.rollout_ids) if found.before is not None else 0
        self.line(f"\nHeld-out accuracy, {count} countries     before   after")
        self.line(f"  exact                             {before.exact:6.2f}  {after.exact:6.2f}")
        self.line(f"  contains                          {before.contains:6.2f}  {after.contains:6.2f}")
        self.line(f"  always the most frequent continent {report.majority:5.2f}  {report.majority:6.2f}\n")
        self.line(
            f"{found.rollouts} rollouts searched, {found.held_out_rollouts} held out; {found.failed} failed, "
            f"{found.without_reward} without reward; {report.seconds:.0f} s in all"
        )
        for rollout_id, error in list(report.run.errors.items())[:1]:
            self.line(f"the first that failed: {rollout_id}: {error!r}")


def _rewards(report: DemoReport) -> list[float]:
    """The rewards of the search's rollouts, in the order in which they were asked for; 0 where there was none."""
    return [report.run.rewards.get(each.rollout_id, 0.0) for each in report.run.rollouts if each.mode == "train"]
