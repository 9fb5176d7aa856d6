"""The library's logging: structured events over the standard library's loggers.

```
log.info("rollout_finished", rollout_id=…)  →  logging.getLogger("lightning_actors.runner")
    nobody configured anything                  warnings and errors on stderr, as text (the standard library's rule)
    the host configured logging                 its handlers get it: str(record.msg) is text, record.msg.fields the keys
    configure_logger() was called               handlers of ours on "lightning_actors": readable lines, or JSON
```

Importing the library configures nothing. Neither the root logger nor structlog's own configuration is ever touched.
"""

from __future__ import annotations

from lightning_actors.log.event import BoundLogger, LogEvent, get_logger
from lightning_actors.log.levels import parse_levels
from lightning_actors.log.setup import configure_logger, setup_logging

__all__ = ["BoundLogger", "LogEvent", "configure_logger", "get_logger", "parse_levels", "setup_logging"]
