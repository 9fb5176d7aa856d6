"""``GET /openapi.json``: true of the server, by asking it whatever the description allows, and more."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Generator
from typing import Any, cast

import httpx2
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from lightning_actors import InMemoryLightningStore, LightningStoreServer, SqliteLightningStore
from lightning_actors.http.openapi import description
from lightning_actors.http.routes import AGL, HEALTH, OPERATIONS, ROUTES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it imports warns, and is none of ours
    schemathesis: Any = importlib.import_module("schemathesis")  # its types are partly unknown
    checks: Any = importlib.import_module("schemathesis.specs.openapi.checks")

ALWAYS = [
    importlib.import_module("schemathesis.checks").not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
UNHURRIED = [HealthCheck.too_slow, HealthCheck.filter_too_much]
ANY_CURSOR = "POST /v1/lightning/messages/NextCompletion"
"""A cursor has no form that a schema could tell."""


TOKEN = "sesame"  # noqa: S105 - the test's own


@pytest.fixture(scope="module")
def address() -> Generator[str]:
    """Where a server listens, for clients that block."""
    with start_blocking_portal("asyncio") as portal:
        server = LightningStoreServer(InMemoryLightningStore(), port=0)
        with portal.wrap_async_context_manager(server):
            yield server.endpoint


@pytest.fixture(scope="module")
def closed_address(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Where a server of a file listens that wants a token."""
    path = tmp_path_factory.mktemp("served") / "store.db"
    with start_blocking_portal("asyncio") as portal, SqliteLightningStore(path) as store:
        server = LightningStoreServer(store, port=0, token=TOKEN)
        with portal.wrap_async_context_manager(server):
            yield server.endpoint


def test_it_is_served_and_names_every_route_and_every_operation(address: str) -> None:
    served = httpx2.get(f"{address}/openapi.json", trust_env=False).json()
    assert served == description()
    for route in ROUTES:
        assert route.method.lower() in served["paths"][AGL + route.path]
    for name in OPERATIONS:
        assert f"/v1/lightning/messages/{name}" in served["paths"]
    names = [operation["operationId"] for path in served["paths"].values() for operation in path.values()]
    assert len(set(names)) == len(names)


def test_fields_and_descriptions_are_those_of_the_messages() -> None:
    paths = description()["paths"]
    post = paths["/v1/agl/rollouts"]["post"]
    assert post["summary"].startswith("Record a task and claim it at once")
    body = post["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["input"]
    assert {"input", "mode", "resources_id", "config", "metadata", "worker_id"} <= set(body["properties"])
    get = {one["name"]: one for one in paths["/v1/agl/spans"]["get"]["parameters"]}
    assert get["rollout_id"]["required"] is True
    assert get["name_contains"]["required"] is False
    assert "sequence_id" in get["sort_by"]["schema"]["enum"]
    next_id = paths["/v1/agl/spans/next"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert next_id["properties"] == {"sequence_id": {"type": "integer"}}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("is_valid", [True, False], ids=["valid", "invalid"])
def test_whatever_is_asked_no_answer_is_a_failure_or_undocumented(address: str, is_valid: bool) -> None:  # noqa: FBT001 - a parameter of the test
    ask_for_all(address, {}, is_valid=is_valid)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("is_valid", [True, False], ids=["valid", "invalid"])
def test_nor_where_a_token_is_wanted_and_a_file_served(closed_address: str, is_valid: bool) -> None:  # noqa: FBT001 - a parameter of the test
    ask_for_all(closed_address, {"authorization": f"Bearer {TOKEN}"}, is_valid=is_valid)


def test_without_the_token_nothing_is_answered_but_that_the_server_is_there(closed_address: str) -> None:
    with httpx2.Client(base_url=closed_address, trust_env=False) as client:
        for path, operations in description()["paths"].items():
            for method in operations:
                answer = client.request(method, path.replace("{", "").replace("}", ""), content=b"{}")
                assert (path, answer.status_code) == (path, 200 if path == HEALTH else 401)


def ask_for_all(address: str, headers: dict[str, str], *, is_valid: bool) -> None:
    """Ask for every operation."""
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json", headers=headers)
    failures: list[str] = []
    for found in schema.get_all_operations():
        operation = found.ok()
        expected = [checks.positive_data_acceptance] if is_valid else []
        if operation.label == ANY_CURSOR:
            expected = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about data that it could not make
            try:
                asked(operation, [*ALWAYS, *expected], headers, is_valid=is_valid)
            except Unsatisfiable:  # nothing can be wrong with a request that has nothing in it
                assert not is_valid
            except Exception as error:  # noqa: BLE001 - all are shown at the end
                failures.append(f"{operation.label}: {error}")
    assert not failures, "\n".join(failures)


def asked(operation: Any, expected: list[Any], headers: dict[str, str], *, is_valid: bool) -> None:
    """Ask for one operation in ways that its description allows, or in ways that it does not."""
    mode = schemathesis.GenerationMode.POSITIVE if is_valid else schemathesis.GenerationMode.NEGATIVE

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=8, suppress_health_check=UNHURRIED, database=None)
    def ask(case: Any) -> None:
        body: Any = case.body
        if isinstance(body, dict):
            if "timeout" in body or operation.label == ANY_CURSOR:
                cast("dict[str, Any]", body)["timeout"] = 0  # nobody waits here
        elif operation.label == ANY_CURSOR and not isinstance(body, str | bytes | list):
            case.body = {"timeout": 0}
        case.call_and_validate(timeout=10, checks=expected, headers=headers)

    ask()
