"""The second demonstration: a policy learns to balance a pole, by REINFORCE, through store and runners.

```
run        prints what happens, from the first update to the report
reinforce  the algorithm: publishes a policy, asks for episodes, reads what they left in the store, learns
agent      plays one episode with the policy that its rollout was given
policy     the policy as a resource          episode  what an episode leaves in its trace
learner    returns, baseline, gradient, Adam          network  the policy's arithmetic
```
"""

from __future__ import annotations

from lightning_actors.errors import MissingExtra

try:
    from lightning_actors.demo.cartpole.agent import play_episode
    from lightning_actors.demo.cartpole.policy import CartPolePolicy
    from lightning_actors.demo.cartpole.reinforce import Reinforce
    from lightning_actors.demo.cartpole.run import CartPoleReport, run_cartpole
except ModuleNotFoundError as error:
    if error.name not in {"gymnasium", "numpy"}:
        raise
    raise MissingExtra("the CartPole demonstration", extra="cartpole") from error

__all__ = ["CartPolePolicy", "CartPoleReport", "Reinforce", "play_episode", "run_cartpole"]
