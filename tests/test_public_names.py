"""The names that users see: complete, in their place, documented, and honest about what is not installed."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import pkgutil
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

import lightning_actors

PEER: Final[dict[str, tuple[str, ...]]] = {
    "types": (
        "Attempt",
        "AttemptStatus",
        "AttemptedRollout",
        "AttributeValue",
        "Attributes",
        "Dataset",
        "EnqueueRolloutRequest",
        "Event",
        "FilterField",
        "FilterOptions",
        "Hook",
        "LLM",
        "Link",
        "NamedResources",
        "OtelResource",
        "PaginatedResult",
        "ParallelWorkerBase",
        "PromptTemplate",
        "ProxyLLM",
        "Resource",
        "ResourceUnion",
        "ResourcesUpdate",
        "Rollout",
        "RolloutConfig",
        "RolloutMode",
        "RolloutRawResult",
        "RolloutStatus",
        "SortOptions",
        "Span",
        "SpanContext",
        "SpanCoreFields",
        "SpanLike",
        "SpanRecordingContext",
        "StatusCode",
        "TaskInput",
        "TraceState",
        "TraceStatus",
        "Triplet",
        "Worker",
        "WorkerStatus",
    ),
    "litagent": ("FunctionalLitAgent", "LitAgent", "llm_rollout", "prompt_rollout", "rollout"),
    "runner": ("LitAgentRunner", "Runner"),
    "store": (
        "InMemoryLightningStore",
        "LightningStore",
        "LightningStoreCapabilities",
        "LightningStoreStatistics",
    ),
    "tracer": ("DummyTracer", "OtelTracer", "Tracer"),
    "emitter": (
        "emit_annotation",
        "emit_exception",
        "emit_message",
        "emit_object",
        "emit_reward",
        "find_final_reward",
        "find_reward_spans",
        "get_message_value",
        "get_object_value",
        "get_reward_value",
        "get_rewards_from_span",
        "is_reward_span",
        "operation",
    ),
    "adapter": (
        "Adapter",
        "LlmProxyTraceToTriplet",
        "OtelTraceAdapter",
        "TraceAdapter",
        "TraceToMessages",
        "TraceToTripletBase",
        "TracerTraceToTriplet",
    ),
    "algorithm": ("Algorithm", "Baseline", "FastAlgorithm", "algo"),
    "trainer": ("Trainer", "build_component"),
    "log": ("configure_logger", "setup_logging"),
}
"""Agent Lightning's names that exist here, by the module in which its users look for them."""


def modules() -> Iterator[ModuleType]:
    """Every module of the package, imported; a ``__main__`` runs when it is imported and is left out."""
    yield lightning_actors
    for found in pkgutil.walk_packages(lightning_actors.__path__, "lightning_actors."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


MODULES: Final = {module.__name__: module for module in modules()}


@cache
def tree(name: str) -> ast.Module:
    """The parsed source of a module."""
    return ast.parse(source(name))


def source(name: str) -> str:
    """The text of a module."""
    return Path(MODULES[name].__file__ or "").read_text(encoding="utf-8")


def sorting_key(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, as the linter sorts ``__all__``."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_the_roots_names_are_sorted() -> None:
    assert lightning_actors.__all__ == sorted(lightning_actors.__all__, key=sorting_key)


def test_the_roots_names_are_exactly_its_public_ones() -> None:
    public = {
        name
        for name, value in vars(lightning_actors).items()
        if not name.startswith("_") and not isinstance(value, ModuleType | type(annotations))
    }
    later = {name for name, (_, extra) in lightning_actors._LATER.items() if extra is None}
    assert set(lightning_actors.__all__) == public | later | {"__version__"}


@pytest.mark.parametrize("module", PEER)
def test_agent_lightnings_names_stand_in_its_module_and_at_the_root(module: str) -> None:
    home = importlib.import_module(f"lightning_actors.{module}")
    assert set(PEER[module]) <= set(home.__all__)
    for name in PEER[module]:
        assert name in lightning_actors.__all__
        assert getattr(lightning_actors, name) is getattr(home, name)


@pytest.mark.parametrize("name", MODULES)
def test_every_name_a_module_exports_exists(name: str) -> None:
    exported: list[str] = getattr(MODULES[name], "__all__", [])
    assert len(set(exported)) == len(exported)
    assert not [missing for missing in exported if not hasattr(MODULES[name], missing)]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(tree(name)), f"{name} has no docstring"


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_documented(name: str) -> None:
    assert not [f"{name}.{what}" for what in undocumented(name)]


def undocumented(name: str) -> Iterator[str]:
    """Functions, classes and methods of a module, and constants that users are given, of which nothing is said."""
    body = tree(name).body
    for place, node in enumerate(body):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from undocumented_members(node, getattr(MODULES[name], node.name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not (node.name.startswith("_") or ast.get_docstring(node) or is_overload(node)):
                yield node.name
        elif not is_text(body[place + 1 : place + 2]):
            for constant in constants(node):
                value = getattr(MODULES[name], constant)
                if constant in given_to_users() and not (callable(value) and inspect.getdoc(value)):
                    yield constant


@cache
def given_to_users() -> frozenset[str]:
    """All names that the package and its top modules export."""
    return frozenset(
        name
        for module in MODULES.values()
        if module.__name__.count(".") <= 1
        for name in getattr(module, "__all__", ())
    )


def is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Whether this is one of several signatures, whose implementation carries the docstring."""
    return any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list)


def undocumented_members(node: ast.ClassDef, owner: type) -> Iterator[str]:
    """The public methods of a class of which neither it nor a base says anything."""
    for member in node.body:
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and not member.name.startswith("_"):
            written = inspect.getattr_static(owner, member.name)
            if not (inspect.getdoc(written) or inspect.getdoc(getattr(owner, member.name))):
                yield f"{owner.__name__}.{member.name}"


def constants(node: ast.stmt) -> list[str]:
    """The names that an assignment gives a value, dunder names and type variables left out."""
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    elif isinstance(node, ast.Assign):
        targets = node.targets
    else:
        return []
    return [target.id for target in targets if isinstance(target, ast.Name) and not target.id.startswith("__")]


def is_text(following: list[ast.stmt]) -> bool:
    """Whether the next statement is a string, which documents the assignment above it."""
    return (
        len(following) == 1
        and isinstance(following[0], ast.Expr)
        and isinstance(following[0].value, ast.Constant)
        and isinstance(following[0].value.value, str)
    )


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_left_for_later(name: str) -> None:
    raised = [ast.unparse(node) for node in ast.walk(tree(name)) if isinstance(node, ast.Raise)]
    assert not [line for line in raised if "NotImplementedError" in line], "an abstract method says it earlier"
    for token in tokenize.generate_tokens(io.StringIO(source(name)).readline):
        if token.type == tokenize.COMMENT:
            words = set(token.string.replace(":", " ").split())
            assert not words & {"TODO", "FIXME", "XXX", "HACK"}, f"{name}, line {token.start[0]}"


def test_public_callables_show_typed_signatures() -> None:
    bare: list[str] = []
    for name in lightning_actors.__all__:
        value = getattr(lightning_actors, name)
        if inspect.isfunction(value):
            signature = inspect.signature(value)
            bare += [f"{name}({p.name})" for p in signature.parameters.values() if p.annotation is p.empty]
            bare += [f"{name} -> ?"] if signature.return_annotation is signature.empty else []
    assert not bare


@pytest.mark.parametrize("name", lightning_actors.LightningStore.operations)
def test_an_unknown_argument_of_a_store_operation_is_an_error_that_names_it(name: str) -> None:
    message: Any = lightning_actors.LightningStore.operations[name]
    with pytest.raises(ValueError, match="no_such_argument"):
        message(no_such_argument=1)


BLOCKED: Final = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from lightning_actors.errors import MissingExtra
try:
    {code}
except MissingExtra as error:
    print(error.extra, "|", error)
"""

USES: Final = {
    "jinja": (
        {"jinja2", "markupsafe"},
        "import lightning_actors as agl; agl.PromptTemplate(template='{{ x }}', engine='jinja').format(x=1)",
    ),
    "openai": (
        {"openai"},
        "import lightning_actors as agl; agl.OtelTracer(openai=True).init()",
    ),
    "http": (
        {"starlette", "uvicorn", "httpx2"},
        "from lightning_actors import LightningStoreServer",
    ),
}
"""For each extra: what is not installed, and what then asks for it."""


@pytest.mark.parametrize("extra", USES)
def test_what_needs_a_missing_extra_says_which(extra: str) -> None:
    names, code = USES[extra]
    script = BLOCKED.format(names=names, code=code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)  # noqa: S603 - our own lines
    assert done.returncode == 0, done.stderr
    told, _, message = done.stdout.strip().partition(" | ")
    assert told == extra
    assert f"pip install 'lightning-actors[{extra}]'" in message


def test_without_the_openai_extra_a_tracer_works_and_says_nothing() -> None:
    code = "import lightning_actors as agl; t = agl.OtelTracer(); t.init(); t.teardown(); print('fine | ')"
    script = BLOCKED.format(names={"openai"}, code=code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)  # noqa: S603 - our own lines
    assert (done.stdout.strip(), done.stderr) == ("fine |", "")


def test_the_root_has_no_name_that_nobody_brings() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = lightning_actors.no_such_name  # pyright: ignore[reportUnknownVariableType, reportAttributeAccessIssue]  # absent on purpose
