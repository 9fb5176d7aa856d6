"""The house keeps its order: what may import what, and what `import lightning_actors` leaves alone."""

from __future__ import annotations

import ast
import importlib.metadata
import io
import json
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

import lightning_actors
from lightning_actors import actors

PROJECT: Final = Path(__file__).parents[1]
PACKAGE: Final = Path(lightning_actors.__file__).parent
ROOT: Final = "lightning_actors"

LAYERS: Final = (
    "errors",
    "error_text",
    "options",
    "types",
    "log",
    "actors",
    "store",
    "semconv",
    "attributes",
    "otlp",
    "tracer",
    "emitter",
    "adapter",
    "injection",
    "litagent",
    "detached",
    "queue",
    "runner",
    "report",
    "algorithm",
    "components",
    "trainer",
    "__init__",
    "http",
    "demo",
    "cli",
    "__main__",
)
"""Lowest first: a file imports only from its own layer and from those before it."""

TYPES_ONLY: Final[dict[tuple[str, str], str]] = {
    ("__init__", "http"): "names of the root that an extra brings are imported when they are asked for",
}
"""Imports under TYPE_CHECKING that go upwards or close a circle, and why they may."""


class Import(NamedTuple):
    """One import of a module of the package by another."""

    importer: str
    imported: str
    for_types: bool


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its name without the package's own; the package itself is ``__init__``."""
    found: dict[str, Path] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def layer(module: str) -> str:
    """The layer that a module belongs to."""
    return module.partition(".")[0]


def names_imported(node: ast.stmt) -> Iterator[str]:
    """The modules of the package that an import statement may name, the longest name first."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, f"line {node.lineno}: imports within the package are absolute"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield str(node.module)


@cache
def imports() -> tuple[Import, ...]:
    """Every import between two modules of the package, wherever in the file it stands."""
    found: list[Import] = []
    for importer, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        guarded = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for statement in node.body
            for inner in ast.walk(statement)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            for name in names_imported(node):
                imported = "__init__" if name == ROOT else name.removeprefix(f"{ROOT}.")
                if name.startswith(ROOT) and imported in modules() and imported != importer:
                    found.append(Import(importer, imported, id(node) in guarded))
    return tuple(dict.fromkeys(found))


def test_every_file_stands_in_a_layer() -> None:
    homeless = sorted({layer(module) for module in modules()} - set(LAYERS))
    assert not homeless, f"give {homeless} a place in LAYERS, and in ARCHITECTURE.md"


def test_the_architecture_names_the_layers_in_this_order() -> None:
    table = (PROJECT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("## The modules")[1].split("\n## ")[0]
    named = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert named == ["lightning_actors" if one == "__init__" else one for one in LAYERS if one != "__main__"]


def test_a_file_imports_only_from_its_own_layer_and_those_below() -> None:
    upward = [
        f"{one.importer} imports {one.imported}"
        for one in imports()
        if LAYERS.index(layer(one.imported)) > LAYERS.index(layer(one.importer))
        and not (one.for_types and (one.importer, one.imported) in TYPES_ONLY)
    ]
    assert not upward


def source(module: str) -> str:
    return modules()[module].read_text(encoding="utf-8")


def test_the_kernel_imports_nothing_of_the_package_but_errors_types_and_log() -> None:
    reached = {layer(one.imported) for one in imports() if layer(one.importer) == "actors"} - {"actors"}
    assert reached <= {"errors", "log"}


def test_the_kernel_knows_nothing_of_rollouts() -> None:
    names = {
        token.string
        for module in modules()
        if layer(module) == "actors"
        for token in tokenize.generate_tokens(io.StringIO(source(module)).readline)
        if token.type == tokenize.NAME
    }
    assert "ActorRef" in names
    assert not [name for name in names if re.search("rollout|attempt|agent|span", name, re.IGNORECASE)]


def test_the_order_of_the_kernels_files_is_the_one_it_states() -> None:
    stated = re.search(r"stands before it:\n(.*?)\.\n", actors.__doc__ or "", re.DOTALL)
    assert stated is not None
    order = [name.strip() for name in stated[1].split(",")]
    assert sorted(order) == sorted(m.removeprefix("actors.") for m in modules() if m.startswith("actors."))
    upward = [
        f"{one.importer} imports {one.imported}"
        for one in imports()
        if one.importer.startswith("actors.")
        and one.imported.startswith("actors.")
        and order.index(one.imported.removeprefix("actors.")) > order.index(one.importer.removeprefix("actors."))
    ]
    assert not upward


def test_no_imports_go_in_a_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in modules()}
    for one in imports():
        # a package's own __init__ is imported by naming what is in it, and imports that in turn
        is_own_package = one.importer.startswith(f"{one.imported}.")
        if not is_own_package and (one.importer, one.imported) not in TYPES_ONLY:
            graph[one.importer].add(one.imported)
    while leaves := [module for module, needed in graph.items() if not needed]:
        for module in leaves:
            del graph[module]
        for needed in graph.values():
            needed.difference_update(leaves)
    assert not graph, f"these go in a circle, or hang on one: {graph}"


def test_the_listed_exceptions_are_imports_for_types() -> None:
    for_types = {(one.importer, one.imported) for one in imports() if one.for_types}
    assert set(TYPES_ONLY) <= for_types


IMPORT_AND_TELL: Final = """
import contextlib, json, logging, signal, sys, threading, warnings

def ours(number, frame): ...

for number in signal.valid_signals():
    with contextlib.suppress(OSError):  # SIGKILL and SIGSTOP have no handler
        signal.signal(number, ours)
kept = [number for number in signal.valid_signals() if signal.getsignal(number) is ours]
filters, hooks = list(warnings.filters), (sys.excepthook, sys.unraisablehook, threading.excepthook)

import anyio, opentelemetry.sdk.trace, pydantic, structlog  # the core; structlog looks for rich by itself

by_core = set(sys.modules)

import lightning_actors

package = logging.getLogger("lightning_actors")
print(json.dumps({
    "modules": sorted(set(sys.modules) - by_core),
    "threads": threading.active_count(),
    "signals_kept": len(kept),
    "signals_touched": [int(number) for number in kept if signal.getsignal(number) is not ours],
    "tracer_provider": repr(opentelemetry.trace._TRACER_PROVIDER),
    "log_handlers": len(logging.getLogger().handlers) + len(package.handlers),
    "log_level_set": package.level != logging.NOTSET or logging.getLogger().level != logging.WARNING,
    "structlog_configured": structlog.is_configured(),
    "hooks_kept": hooks == (sys.excepthook, sys.unraisablehook, threading.excepthook),
    "filters_added": [str(one) for one in warnings.filters if one not in filters and "lightning" in str(one)],
}))
"""


@pytest.fixture(scope="module")
def after_import() -> dict[str, Any]:
    """What a fresh interpreter looks like after `import lightning_actors`."""
    done = subprocess.run([sys.executable, "-c", IMPORT_AND_TELL], capture_output=True, text=True, check=True)  # noqa: S603 - our own lines
    assert not done.stderr
    return json.loads(done.stdout)


def optional_modules() -> set[str]:
    """The top-level modules of every requirement that an extra names."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [line for lines in project["optional-dependencies"].values() for line in lines]
    distributions = {re.split(r"[\s\[<>=;~!]", line)[0].lower() for line in named} - {project["name"]}
    return {
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if distributions & {owner.lower() for owner in owners} and module not in {"opentelemetry", "_pytest"}
    }


def test_importing_the_package_imports_no_optional_dependency(after_import: dict[str, Any]) -> None:
    loaded: list[str] = after_import["modules"]
    optional = optional_modules()
    assert {"openai", "typer", "rich", "jinja2", "starlette", "trio"} <= optional
    assert not optional & set(loaded)
    assert not [name for name in loaded if name.startswith("opentelemetry.instrumentation")]


def test_importing_the_package_sets_no_tracer_provider(after_import: dict[str, Any]) -> None:
    assert after_import["tracer_provider"] == "None"


def test_importing_the_package_configures_no_logging(after_import: dict[str, Any]) -> None:
    assert after_import["log_handlers"] == 0
    assert after_import["log_level_set"] is False
    assert after_import["structlog_configured"] is False


def test_importing_the_package_starts_no_thread(after_import: dict[str, Any]) -> None:
    assert after_import["threads"] == 1


def test_importing_the_package_touches_no_signal_hook_or_warning_filter(after_import: dict[str, Any]) -> None:
    assert after_import["signals_kept"] > 0
    assert after_import["signals_touched"] == []
    assert after_import["hooks_kept"] is True
    assert after_import["filters_added"] == []
