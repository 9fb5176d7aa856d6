"""Files, levels of parts, and the console switched off: what `configure_logger` sets up, and what it takes back."""

from __future__ import annotations

import errno
import json
import logging
import re
import subprocess
import sys
from collections.abc import Generator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from lightning_actors.errors import ConfigError
from lightning_actors.log import configure_logger, get_logger, parse_levels

NAME = "lightning_actors"
RUNNER, STORE, DEEP = f"{NAME}.runner", f"{NAME}.store", f"{NAME}.store.deep"


@pytest.fixture(autouse=True)
def unconfigured() -> Generator[None]:
    yield
    configure_logger(console=False)  # closes files, takes levels back
    logger = logging.getLogger(NAME)
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def events(path: Path) -> list[str]:
    return [json.loads(line)["event"] for line in path.read_text(encoding="utf-8").splitlines()]


# ── files ──


def test_a_file_gets_every_event_beside_the_console(tmp_path: Path) -> None:
    path, stream = tmp_path / "made" / "for it" / "run.log", StringIO()
    configure_logger(stream=stream, files=str(path))
    get_logger(RUNNER).info("rollout_finished", rollout_id="ro-1", hint="grüß Gott")
    get_logger(RUNNER).debug("hidden")
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \[info ", line)
    assert line.endswith("[lightning_actors.runner] rollout_id=ro-1 hint='grüß Gott'")
    (shown,) = stream.getvalue().splitlines()
    assert line[11:] == shown


def test_a_file_has_no_colours_where_the_console_has(tmp_path: Path) -> None:
    path, stream = tmp_path / "run.log", StringIO()
    configure_logger(stream=stream, color=True, files=path)
    get_logger().info("x")
    assert "\x1b[" in stream.getvalue()
    assert "\x1b[" not in path.read_text(encoding="utf-8")


def test_a_file_is_added_to_and_not_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    for event in ("one", "two"):
        configure_logger(json=True, console=False, files=path)
        get_logger().info(event)
    assert events(path) == ["one", "two"]


def test_files_by_logger_get_what_it_and_those_below_it_log(tmp_path: Path) -> None:
    store, everything, stream = tmp_path / "store.log", tmp_path / "all.log", StringIO()
    configure_logger(json=True, stream=stream, files={STORE: store, NAME: everything})
    for name in (RUNNER, STORE, DEEP):
        get_logger(name).info(name)
    assert events(store) == [STORE, DEEP]
    assert events(everything) == [RUNNER, STORE, DEEP]
    assert len(stream.getvalue().splitlines()) == 3


def test_a_text_that_cannot_be_encoded_is_written_all_the_same(tmp_path: Path) -> None:
    for as_json in (False, True):
        path = tmp_path / f"{as_json}.log"
        configure_logger(json=as_json, console=False, files=path)
        get_logger().info("odd", name="caf\udce9")
        assert "caf\\udce9" in path.read_text(encoding="utf-8")


def test_lines_of_several_processes_in_one_file_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    code = (
        "import sys; from lightning_actors.log import configure_logger\n"
        "log = configure_logger(json=True, console=False, files=sys.argv[1])\n"
        "sys.stdin.readline()\n"
        "for number in range(50): log.info('step', number=number, who=sys.argv[2], long='x' * 20_000)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(path), who], stdin=subprocess.PIPE)  # noqa: S603 - our own code
        for who in "ab"
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=50)
        assert process.returncode == 0
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for who in "ab":
        assert [record["number"] for record in records if record["who"] == who] == list(range(50))


def test_a_file_that_cannot_be_opened_leaves_all_as_it_was(tmp_path: Path) -> None:
    stream, good = StringIO(), tmp_path / "good.log"
    configure_logger("WARNING", stream=stream)
    handlers = list(logging.getLogger(NAME).handlers)
    with pytest.raises(OSError, match=re.escape(str(tmp_path))) as caught:
        configure_logger("DEBUG", files={NAME: good, STORE: tmp_path})
    assert caught.value.errno == errno.EISDIR
    assert logging.getLogger(NAME).handlers == handlers
    assert logging.getLogger(NAME).level == logging.WARNING


def test_a_full_disk_breaks_no_caller(capsys: pytest.CaptureFixture[str]) -> None:
    stream = StringIO()
    configure_logger(stream=stream, files="/dev/full")
    get_logger().info("shown")
    assert "shown" in stream.getvalue()
    assert "No space left on device" in capsys.readouterr().err


# ── the console ──


def test_without_the_console_nothing_is_printed(tmp_path: Path) -> None:
    code = (
        "import sys; from lightning_actors.log import configure_logger, get_logger\n"
        "files = {'lightning_actors.store': path for path in sys.argv[1:]}\n"
        "configure_logger(console=False, files=files)\n"
        "get_logger('lightning_actors.store').error('bad'); get_logger().error('bad')\n"
    )
    for arguments in ([], [str(tmp_path / "store.log")]):
        done = subprocess.run(  # noqa: S603 - our own code
            [sys.executable, "-X", "dev", "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "store.log").read_text(encoding="utf-8").count("\n") == 1


def test_a_stream_without_the_console_is_a_contradiction() -> None:
    with pytest.raises(ConfigError, match="stream"):
        configure_logger(console=False, stream=StringIO())


# ── levels of parts ──


def test_a_part_may_be_more_or_less_talkative_than_the_whole() -> None:
    stream = StringIO()
    configure_logger("INFO", json=True, stream=stream, submodule_levels={STORE: "debug", RUNNER: logging.ERROR})
    for name in (NAME, STORE, DEEP, RUNNER):
        get_logger(name).debug(f"debug {name}")
        get_logger(name).warning(f"warning {name}")
    shown = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert shown == [
        f"warning {NAME}",
        *(f"{level} {name}" for name in (STORE, DEEP) for level in ("debug", "warning")),
    ]


def test_the_next_call_takes_levels_and_files_of_parts_back(tmp_path: Path) -> None:
    path, stream = tmp_path / "store.log", StringIO()
    configure_logger(stream=StringIO(), files={STORE: path}, submodule_levels={STORE: "DEBUG", RUNNER: "DEBUG"})
    logging.getLogger(RUNNER).setLevel(logging.ERROR)  # the host's word, from now on
    configure_logger(stream=stream)
    assert logging.getLogger(STORE).level == logging.NOTSET
    assert logging.getLogger(STORE).handlers == []
    assert logging.getLogger(RUNNER).level == logging.ERROR
    get_logger(STORE).info("shown")
    assert path.read_text(encoding="utf-8") == ""
    assert len(stream.getvalue().splitlines()) == 1
    logging.getLogger(RUNNER).setLevel(logging.NOTSET)


def test_setups_of_two_names_leave_each_other_alone() -> None:
    mine, whole = StringIO(), StringIO()
    configure_logger("DEBUG", name=DEEP, stream=mine)
    try:
        configure_logger("WARNING", stream=whole)
        get_logger(DEEP).debug("shown")
        assert (len(mine.getvalue().splitlines()), whole.getvalue()) == (1, "")
    finally:
        logger = logging.getLogger(DEEP)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


@pytest.mark.parametrize("option", ["submodule_levels", "files"])
@pytest.mark.parametrize("name", ["store", "lightning_actor.store", "lightning_actors_store", "", "root", "openai", 3])
def test_what_is_no_part_is_an_error_that_says_how_to_name_one(option: str, name: Any, tmp_path: Path) -> None:
    given: Any = {option: {name: "DEBUG" if option == "submodule_levels" else tmp_path / "x"}}
    with pytest.raises(ConfigError, match=rf"{option} names .*, which is no part of lightning_actors: .*'lightning_ac"):
        configure_logger(**given)
    assert not list(tmp_path.iterdir())
    assert logging.getLogger(NAME).handlers == []


def test_a_bad_level_of_a_part_is_named() -> None:
    with pytest.raises(ConfigError, match="there is no log level 'LOUD'"):
        configure_logger(submodule_levels={STORE: "LOUD"})
    assert logging.getLogger(NAME).handlers == []


# ── levels as they are written on a command line ──


@pytest.mark.parametrize(
    ("text", "level", "parts"),
    [
        ("debug", "debug", {}),
        ("15", 15, {}),
        ("INFO,store=DEBUG, tracer = 15", "INFO", {STORE: "DEBUG", f"{NAME}.tracer": 15}),
        ("store=DEBUG", "INFO", {STORE: "DEBUG"}),
        (f"{STORE}=DEBUG,actors.incarnation=DEBUG", "INFO", {STORE: "DEBUG", f"{NAME}.actors.incarnation": "DEBUG"}),
    ],
)
def test_levels_are_read_from_a_text(text: str, level: str | int, parts: dict[str, str | int]) -> None:
    assert parse_levels(text) == (level, parts)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("INFO,DEBUG", "two levels for everything, 'INFO' and 'DEBUG'"),
        ("INFO,", "an empty level"),
        ("", "an empty level"),
        ("stroe=DEBUG", "there is no part 'stroe': .*store"),
        ("=DEBUG", "there is no part ''"),
        ("store=", "there is no log level ''"),
        ("LOUD", "there is no log level 'LOUD'"),
        ("store=LOUD", "there is no log level 'LOUD'"),
        ("store=DEBUG,store=INFO", "two levels for 'store'"),
    ],
)
def test_a_text_that_says_no_levels_is_an_error(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_levels(text)


@pytest.mark.parametrize("option", ["files", "submodule_levels"])
def test_what_is_no_dict_of_parts_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} is 5: give a dict by the names of loggers"):
        configure_logger(**{option: 5})  # pyright: ignore[reportArgumentType]  # callers without a type checker
