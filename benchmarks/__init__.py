"""What lightning-actors costs, measured beside the least that its work can cost, and beside Agent Lightning.

```
python -m benchmarks [case...] [--peer] [--check] [--json FILE] [--markdown]

__main__ ──▶ harness: rounds of A B A B ──▶ worker: one measurement in a process of its own ──▶ cases/<case>
                 │                     └──▶ agent_lightning/<case>, in an environment of its own
                 └──▶ results ──▶ table, Markdown, JSON
```

Figures are ratios within one round wherever they can be, on process CPU time, as medians over the rounds: other load
moves absolute times two- to threefold.
"""
