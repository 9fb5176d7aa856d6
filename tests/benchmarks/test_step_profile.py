"""The profile of a step: every part has its share."""

from __future__ import annotations

import gc

from benchmarks.step_profile import Share, StepProfile, as_markdown, profile_steps


def test_the_shares_of_a_step_are_those_of_its_parts_and_add_up() -> None:
    profile = profile_steps(10)
    parts = {share.part: share for share in profile.shares}
    assert {"`store`", "`runner`", "`tracer`", "opentelemetry", "anyio"} <= set(parts)
    assert parts["`store`"].calls > 5
    assert sum(share.seconds for share in profile.shares) > 0
    assert gc.isenabled()


def test_the_table_leaves_out_what_is_less_than_a_hundredth() -> None:
    shares = (Share("`store`", 0.0003, 20.0), Share("asyncio", 0.000004, 3.0))
    assert as_markdown(StepProfile(0.0005, 0.000196, shares)).splitlines()[2:] == [
        "| garbage collector | 196 | 39% |  |",
        "| `store` | 300 | 60% | 20 |",
        "| **a step** | **500** | | |",
    ]
