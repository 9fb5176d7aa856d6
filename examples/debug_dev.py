"""Dry-run the trainer's loop: store, queue, runners and a fast algorithm, on a few tasks.

python examples/debug_dev.py
"""

from __future__ import annotations

from capitals import PROMPT, QUESTIONS, model_or_exit, name_capital

import lightning_actors as agl


def main(llm: agl.LLM) -> None:
    """Send every question through the loop; each is printed with its status, its reward and its spans."""
    trainer = agl.Trainer(n_workers=2, initial_resources={"main_prompt": PROMPT, "llm": llm})
    result = trainer.dev(name_capital, QUESTIONS)

    print(result)
    for rollout in result.rollouts:
        print(f"{rollout.input['country']}: reward {result.rewards.get(rollout.rollout_id)}")


if __name__ == "__main__":
    agl.configure_logger("WARNING")  # the same in a debug run and in a training run
    with model_or_exit() as model:
        main(model)
