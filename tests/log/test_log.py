"""What the library logs, to whom, and in which form."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Generator
from typing import Any
from uuid import uuid4

import pytest
import structlog

from lightning_actors.errors import ConfigError
from lightning_actors.log import LogEvent, configure_logger, get_logger, setup_logging

NAME = "lightning_actors"


@pytest.fixture(autouse=True)
def unconfigured() -> Generator[None]:
    logger = logging.getLogger(NAME)
    before = (logger.level, logger.propagate, list(logger.handlers))
    yield
    logger.setLevel(before[0])
    logger.propagate, logger.handlers[:] = before[1], before[2]


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own code


def test_an_unconfigured_library_prints_warnings_to_stderr_and_nothing_else() -> None:
    result = run(
        "from lightning_actors.log import get_logger\n"
        "log = get_logger('lightning_actors.runner', worker_id='Worker-1')\n"
        "log.debug('hidden'); log.info('hidden'); log.warning('rollout_failed', rollout_id='ro-1', error='no room')\n"
    )
    assert result.stdout == ""
    assert result.stderr == "rollout_failed worker_id=Worker-1 rollout_id=ro-1 error='no room'\n"


def test_importing_the_library_configures_nothing() -> None:
    result = run(
        "import logging, structlog\n"
        "import lightning_actors.log, lightning_actors.litagent, lightning_actors.algorithm\n"
        "logger = logging.getLogger('lightning_actors')\n"
        "print(logger.handlers, logging.getLogger().handlers, logger.level, structlog.is_configured())\n"
    )
    assert result.stdout == "[] [] 0 False\n"


def test_the_hosts_own_logging_gets_text_and_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, NAME):
        get_logger("lightning_actors.runner").info("rollout_finished", rollout_id="ro-1", seconds=1.5)
    (record,) = caplog.records
    assert record.getMessage() == "rollout_finished rollout_id=ro-1 seconds=1.5"
    assert record.name == "lightning_actors.runner"
    assert record.funcName == "test_the_hosts_own_logging_gets_text_and_fields"
    assert isinstance(record.msg, LogEvent)
    assert record.msg.fields == {"rollout_id": "ro-1", "seconds": 1.5}


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_readable_lines_hold_time_level_event_logger_and_fields() -> None:
    stream = io.StringIO()
    configure_logger("DEBUG", stream=stream)
    get_logger("lightning_actors.runner").debug("rollout_finished", rollout_id="ro-1", seconds=1.5)
    (line,) = lines(stream)
    time, level, event, logger, *fields = line.replace("[debug    ]", "debug").split()
    assert len(time) == len("12:00:00.000")
    assert (level, event, logger, fields) == (
        "debug",
        "rollout_finished",
        "[lightning_actors.runner]",
        ["rollout_id=ro-1", "seconds=1.5"],
    )


SEVERAL_LINES = "store   idle\nrunner  ro-1: agent for 1.5 s"
BELOW = "\n  tree:\n    store   idle\n    runner  ro-1: agent for 1.5 s"


def test_a_text_of_several_lines_stands_below_the_line_of_its_event(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, NAME):
        get_logger().info("stopping", tree=SEVERAL_LINES, seconds=1.5)
    assert caplog.records[0].getMessage() == f"stopping seconds=1.5{BELOW}"
    stream = io.StringIO()
    configure_logger(stream=stream, color=False).info("stopping", tree=SEVERAL_LINES, seconds=1.5)
    first, *rest = stream.getvalue().splitlines(keepends=True)
    assert first.endswith(" seconds=1.5\n")
    assert "".join(rest) == f"{BELOW[1:]}\n"


def test_a_text_of_several_lines_is_one_field_in_json() -> None:
    stream = io.StringIO()
    configure_logger(stream=stream, json=True).info("stopping", tree=SEVERAL_LINES)
    assert json.loads(stream.getvalue())["tree"] == SEVERAL_LINES


def test_json_lines_can_be_read_back() -> None:
    stream = io.StringIO()
    log = configure_logger(stream=stream, json=True)
    log.info("rollout_finished", rollout_id="ro-1", reward=float("nan"), kind=int)
    (line,) = lines(stream)
    record = json.loads(line, parse_constant=pytest.fail)
    assert record.pop("timestamp").endswith("Z")
    assert record == {
        "level": "info",
        "logger": NAME,
        "event": "rollout_finished",
        "rollout_id": "ro-1",
        "reward": "nan",
        "kind": "<class 'int'>",
    }


def test_a_field_never_hides_what_every_line_has() -> None:
    stream = io.StringIO()
    configure_logger(stream=stream, json=True).info("odd", level=3, event="mine")
    record = json.loads(stream.getvalue())
    assert (record["level"], record["event"], record["level_"], record["event_"]) == ("info", "odd", 3, "mine")


def fail(api_key: str) -> None:
    raise ValueError("no such prompt", len(api_key))


@pytest.mark.parametrize("as_json", [False, True])
def test_an_exceptions_traceback_is_shown_without_the_values_of_variables(as_json: bool) -> None:  # noqa: FBT001 - a parameter of the test
    stream = io.StringIO()
    log = configure_logger(stream=stream, json=as_json)
    api_key = uuid4().hex
    try:
        fail(api_key)
    except ValueError as error:
        log.exception("rollout_failed", rollout_id="ro-1")
        log.warning("rollout_failed", exc_info=error)
    text = stream.getvalue()
    assert text.count("ValueError: ('no such prompt', 32)") == 2
    assert "Traceback" in text
    assert api_key not in text


def test_configuring_twice_leaves_one_handler_and_the_last_setting() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logger(stream=first)
    log = configure_logger("WARNING", stream=second)
    log.info("hidden")
    log.warning("shown")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1
    assert len(logging.getLogger(NAME).handlers) == 1


def test_a_handler_of_the_host_is_left_alone() -> None:
    theirs = logging.NullHandler()
    logging.getLogger(NAME).addHandler(theirs)
    configure_logger()
    assert theirs in logging.getLogger(NAME).handlers


def test_the_root_logger_is_not_touched() -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    configure_logger("DEBUG", stream=io.StringIO())
    assert (root.level, list(root.handlers)) == before
    assert not structlog.is_configured()
    assert not logging.getLogger(NAME).propagate
    for name in ("", "root"):
        with pytest.raises(ConfigError, match="root logger"):
            configure_logger(name=name)


@pytest.mark.parametrize(
    ("level", "number"), [("debug", 10), ("Info", 20), (" WARNING", 30), ("error", 40), (15, 15), (0, 1)]
)
def test_levels_are_names_or_numbers(level: Any, number: int) -> None:
    assert configure_logger(level, stream=io.StringIO()).stdlib.level == number


@pytest.mark.parametrize("level", ["LOUD", "", "10", -1, True, None, 1.5])
def test_a_bad_level_is_an_error_that_lists_the_good_ones(level: Any) -> None:
    with pytest.raises(ConfigError, match="DEBUG, INFO, WARNING, ERROR, CRITICAL"):
        configure_logger(level)
    assert logging.getLogger(NAME).handlers == []


def test_bound_keys_come_with_every_event_and_leave_the_parent_alone() -> None:
    stream = io.StringIO()
    configure_logger(stream=stream, json=True)
    parent = get_logger("lightning_actors.runner")
    bound = parent.bind(rollout_id="ro-1")
    bound.info("begun")
    bound.unbind("rollout_id").info("plain")
    parent.info("plain")
    assert [json.loads(line).get("rollout_id") for line in lines(stream)] == ["ro-1", None, None]


def test_the_hosts_context_variables_are_merged() -> None:
    stream = io.StringIO()
    log = configure_logger(stream=stream, json=True)
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        log.info("inside")
    assert json.loads(stream.getvalue())["request_id"] == "r-1"


def test_a_disabled_level_renders_nothing() -> None:
    class Costly:
        def __repr__(self) -> str:
            raise AssertionError("this event was rendered")

    stream = io.StringIO()
    log = configure_logger("ERROR", stream=stream)
    log.debug("x", value=Costly())
    log.info("x %s", Costly())
    log.warning("x", value=Costly())
    log.log(logging.INFO, "x", value=Costly())
    assert stream.getvalue() == ""


def test_lines_of_many_threads_stay_whole() -> None:
    stream = io.StringIO()
    configure_logger(stream=stream, json=True)

    def work(number: int) -> None:
        log = get_logger("lightning_actors.runner", number=number)
        for step in range(50):
            log.info("step", step=step)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = [json.loads(line) for line in lines(stream)]
    assert sorted((r["number"], r["step"]) for r in records) == [(n, s) for n in range(4) for s in range(50)]


def test_color_is_for_terminals_unless_asked_for() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    plain, terminal, forced = io.StringIO(), Terminal(), io.StringIO()
    configure_logger(stream=plain).info("x")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NO_COLOR", raising=False)
        configure_logger(stream=terminal).info("x")
        patch.setenv("NO_COLOR", "1")
        quiet = Terminal()
        configure_logger(stream=quiet).info("x")
    configure_logger(stream=forced, color=True).info("x")
    assert ["\x1b[" in s.getvalue() for s in (plain, terminal, quiet, forced)] == [False, True, False, True]


def test_without_a_stream_lines_go_to_stderr_as_it_is_then(capsys: pytest.CaptureFixture[str]) -> None:
    log = configure_logger()
    log.info("shown", rollout_id="ro-1")
    captured = capsys.readouterr()
    assert "rollout_id=ro-1" in captured.err
    assert captured.out == ""


def test_records_of_plain_loggers_below_take_the_same_form() -> None:
    stream = io.StringIO()
    configure_logger(stream=stream, json=True)
    logging.getLogger("lightning_actors.plugin").info("loaded %s", "it")
    assert json.loads(stream.getvalue())["event"] == "loaded it"


def test_setup_logging_is_the_same_function() -> None:
    assert setup_logging is configure_logger
