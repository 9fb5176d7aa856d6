"""The space of prompts: what is drawn from it, and what a small change is."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_actors.algorithm.prompt_space import Candidate, Demonstrations, Layout, PromptSpace, fill_placeholders
from lightning_actors.errors import ConfigError
from lightning_actors.types import PromptTemplate

POOL = {index: {"q": f"question {index}", "a": f"answer {index}"} for index in range(20)}
TEMPLATES = ["{instruction}\n{demonstrations}{question}", "{instruction}: {question}"]


def shown(item: dict[str, str]) -> str:
    return f"{item['q']} -> {item['a']}\n"


def space(
    *, instructions: int = 3, counts: tuple[int, ...] = (0, 2, 4), seed: int = 0, pool: Any = None
) -> PromptSpace:
    return PromptSpace(
        [f"instruction {number}" for number in range(instructions)],
        TEMPLATES,
        Demonstrations(shown, counts),
        pool=POOL if pool is None else pool,
        seed=seed,
    )


@given(
    text=st.text(alphabet="ab{}\n").map(lambda text: text.replace("{", "{{").replace("}", "}}")),
    value=st.text(alphabet="xy{}:!"),
    task=st.text(alphabet="st{}"),
)
def test_what_is_filled_in_stays_as_it_is_whatever_braces_it_has(text: str, value: str, task: str) -> None:
    template = text + "{instruction}|{task!s:>3}"
    filled = fill_placeholders(template, {"instruction": value})
    prompt = PromptTemplate(template=filled, engine="f-string")
    assert prompt.placeholders() == ("task",)
    assert prompt.format(task=task) == template.format(instruction=value, task=task)


@given(seed=st.integers(0, 1000), count=st.integers(0, 40))
def test_drawn_candidates_all_differ_and_leave_the_agents_placeholder(seed: int, count: int) -> None:
    drawn = space(seed=seed).draw(count)
    assert len({candidate.text for candidate in drawn}) == len(drawn) == count
    for candidate in drawn:
        assert PromptTemplate(template=candidate.text, engine="f-string").placeholders() == ("question",)


def test_a_candidate_shows_its_demonstrations_in_order() -> None:
    drawn = next(each for each in space().draw(12) if len(each.demonstrations) == 4)
    expected = "".join(shown(POOL[index]) for index in drawn.demonstrations)
    assert drawn.text == f"instruction {drawn.instruction}\n{expected}{{question}}"


def test_a_layout_may_have_its_own_form_of_demonstration() -> None:
    layout = Layout("{demonstrations}{question}", lambda item: f"<{item['a']}>")
    own = PromptSpace(["-"], [layout], Demonstrations(shown, [1]), pool={7: POOL[7]}, seed=0)
    assert own.draw(1) == [Candidate("<answer 7>{question}", 0, 0, (7,))]


def test_instructions_layouts_and_numbers_of_demonstrations_are_drawn_about_equally_often() -> None:
    drawn = space().draw(12)
    for seen, kinds in (
        (Counter(each.instruction for each in drawn), 3),
        (Counter(each.layout for each in drawn), 2),
        (Counter(len(each.demonstrations) for each in drawn), 3),
    ):
        assert len(seen) == kinds
        assert min(seen.values()) >= 3


def test_a_small_space_gives_all_it_has_and_no_more() -> None:
    small = PromptSpace(["a", "b"], ["{instruction} {question}"], pool={}, seed=0)
    drawn = small.draw(100)
    assert sorted(each.text for each in drawn) == ["a {question}", "b {question}"]
    assert small.draw(1, known=drawn) == []
    assert small.change(drawn[0], known=drawn) is None


def test_known_candidates_are_not_drawn_again() -> None:
    first = space(seed=1).draw(6)
    assert not {each.text for each in first} & {each.text for each in space(seed=1).draw(6, known=first)}


@given(seed=st.integers(0, 1000))
def test_a_change_changes_one_part_and_is_new(seed: int) -> None:
    changing = space(seed=seed)
    (before,) = changing.draw(1)
    after = changing.change(before, known=[before])
    assert after is not None
    assert after.text != before.text
    if after.layout == before.layout:
        is_other_instruction = after.instruction != before.instruction
        assert not (is_other_instruction and after.demonstrations != before.demonstrations)
    else:
        assert after.instruction == before.instruction


def test_the_prompt_that_a_search_began_with_changes_into_a_drawn_one() -> None:
    changed = space().change(Candidate("{question}?"), known=[])
    assert changed is not None
    assert changed.instruction is not None


@given(seed=st.integers(0, 100))
def test_the_same_seed_draws_the_same(seed: int) -> None:
    one, other = space(seed=seed), space(seed=seed)
    drawn = one.draw(5)
    assert drawn == other.draw(5)
    assert one.change(drawn[0]) == other.change(drawn[0])


def test_a_prompt_never_shows_more_than_there_is() -> None:
    drawn = space(pool={3: POOL[3]}).draw(9)
    assert {each.demonstrations for each in drawn} == {(), (3,)}


@pytest.mark.parametrize(
    ("instructions", "templates", "demonstrations", "said"),
    [
        ([], ["{q}"], None, r"instructions is \[\]: give a list with at least one text"),
        ("do", ["{q}"], None, "instructions is 'do': give a list"),
        (None, ["{q}"], None, "instructions is None: give a list"),
        (5, ["{q}"], None, "instructions is 5: give a list"),
        (["do", 5], ["{q}"], None, r"instructions\[1\] is 5: give a text"),
        (["do"], [], None, r"templates is \[\]: give a list with at least one text"),
        (["do"], 5, None, "templates is 5: give a list"),
        (["do"], [5], None, r"templates\[0\] is 5: give an f-string template as text, or a Layout"),
        (["do"], [Layout(cast("Any", 5))], None, r"templates\[0\] is Layout\(text=5.*: give an f-string template"),
        (["do"], ["{q}"], 5, "demonstrations is 5: give a function"),
        (["do"], ["{q}"], Demonstrations(cast("Any", 5)), "Demonstrations.render is 5: give a function"),
        (["do"], ["{q"], None, "not a well-formed"),
        (["do"], ["{demonstrations}{q}"], None, "pass demonstrations="),
        (["do"], ["{q}"], Demonstrations(shown), "no template has the placeholder"),
        (["do"], ["{demonstrations}"], Demonstrations(shown, []), r"counts is \[\]: give a list of whole numbers"),
        (
            ["do"],
            ["{demonstrations}"],
            Demonstrations(shown, [-1]),
            r"counts\[0\] is -1: give a whole number, 0 or more",
        ),
        (["do"], ["{demonstrations}"], Demonstrations(shown, cast("Any", 5)), "counts is 5: give a list"),
        (["do"], ["{demonstrations}"], Demonstrations(shown, cast("Any", [1.5])), r"counts\[0\] is 1.5: give a whole"),
    ],
)
def test_parts_that_make_no_prompt_are_refused(
    instructions: Any, templates: Any, demonstrations: Any, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        PromptSpace(instructions, templates, demonstrations, pool=POOL, seed=0)
