# pyright: basic, reportMissingImports=false
# It runs in an environment of its own, whose packages the type checker does not see.
"""`Trainer.dev` with the same tasks: as it comes, and with every poll that can be set at 0.05 s."""

from __future__ import annotations

import agentlightning as agl

from benchmarks.agent_lightning.agents import resources, sizes, spanner, tell
from benchmarks.meter import Meter

_POLL = 0.05


def dry_run(tasks: int, *, is_tuned: bool) -> float:
    """The seconds of one dry run."""
    tracer = agl.OtelTracer()
    runner = agl.LitAgentRunner(tracer, poll_interval=_POLL if is_tuned else 5.0)
    algorithm = agl.Baseline(polling_interval=_POLL if is_tuned else 5.0)
    trainer = agl.Trainer(n_runners=1, tracer=tracer, runner=runner, algorithm=algorithm, initial_resources=resources())
    with Meter() as meter:
        trainer.dev(spanner, list(range(tasks)))
    return meter.wall


if __name__ == "__main__":
    count = sizes()["tasks"]
    plain = dry_run(count, is_tuned=False)
    tell({"wall": plain, "tuned_wall": dry_run(count, is_tuned=True)})
