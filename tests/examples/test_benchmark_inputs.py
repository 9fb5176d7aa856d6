"""What the benchmark says of files and options that it cannot use, and what it takes in its stride."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest
from benchmark_place import Place


def test_bad_lines_are_named_with_their_numbers_before_anything_runs(place: Place) -> None:
    place.tasks.write_text('{"id": true}\n1\n[2,\n{"id": 2}\n', encoding="utf-8")
    code, out, told = place.run("silent")
    assert (code, out) == (1, "")
    assert told.splitlines() == [
        "tasks.jsonl:1: its id is true: give a string or a whole number, or none",
        "tasks.jsonl:3: not a JSON value (Expecting value at column 4): write one value to a line",
        "tasks.jsonl:4: its id 2 is that of line 2 too",
    ]
    assert not place.results.exists()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (b"", "tasks.jsonl: there is no task in it\n"),
        (b"\r\n \n", "tasks.jsonl: there is no task in it\n"),
        (b'1\n"caf\xe9"\n', "tasks.jsonl:2: not UTF-8 (byte 0xe9 at position 5): save the file as UTF-8\n"),
        ("1\n".encode("utf-16"), "tasks.jsonl:1: not UTF-8 (byte 0xff at position 1): save the file as UTF-8\n"),
        (b"1\n" + b"[" * 100_000, "tasks.jsonl:2: nested more than 200 deep\n"),
        (b"1\n" + b"[" * 201 + b"]" * 201, "tasks.jsonl:2: nested more than 200 deep\n"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "tasks.jsonl:1: nested more than 200 deep\n"),
        (b"7" * 5000, "tasks.jsonl:1: Exceeds the limit "),
        (b'{"id": "\\ud800"}', 'tasks.jsonl:1: its id is "\\ud800", which cannot be encoded'),
        (b"1\r2\r", "tasks.jsonl:1: not a JSON value (Extra data at column 3): write one value to a line\n"),
    ],
)
def test_tasks_that_cannot_be_read_are_named_with_their_lines(place: Place, lines: bytes, said: str) -> None:
    place.tasks.write_bytes(lines)
    code, out, told = place.run("silent")
    assert (code, out) == (1, "")
    assert told.startswith(said)
    assert "Traceback" not in told


def test_a_byte_order_mark_other_ends_of_lines_and_empty_ones_are_taken(place: Place) -> None:
    place.tasks.write_bytes(b'\xef\xbb\xbf{"id": "a"}\r\n\r\n2\r\n' + b"[" * 200 + b"1" + b"]" * 200)
    llm = {"resource_type": "llm", "endpoint": "http://127.0.0.1:9", "model": "small"}
    text = json.dumps({"llm": llm}, indent=1).replace("\n", "\r\n")
    (place.path / "resources.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    code, out, _ = place.run("asking", "--resources", "resources.json")
    assert code == 0
    assert sorted(place.ids(), key=str) == [3, 4, "a"]
    assert "results     3 of 3, 3 succeeded" in out


def test_results_that_an_editor_has_saved_are_gone_on_with(place: Place) -> None:
    place.write_tasks(1, 2, 3, 4)
    assert place.run("generous")[0] == 0
    first, _, *rest = place.results.read_bytes().splitlines()
    place.results.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join([first, b"", *rest, b" "]))
    code, out, told = place.run("generous")
    assert (code, told[:47]) == (0, "results.jsonl has 3 of 4 results already\n1/1, m")
    assert "(1 in " in out
    assert place.run("generous")[0] == 0


def test_only_the_first_of_many_bad_lines_are_shown(place: Place) -> None:
    place.tasks.write_text("{\n" * 30, encoding="utf-8")
    _, _, told = place.run("silent")
    assert told.count("tasks.jsonl:") == 5
    assert told.endswith("\nand 25 more\n")


@pytest.mark.parametrize(
    ("agent", "options", "said"),
    [
        ("nobody", (), "agents has no 'nobody'"),
        ("LOG", (), "agent cannot be made from 'agents:LOG'"),
        ("silent", ("--resources", "tasks.jsonl"), "tasks.jsonl: no resources by name: "),
        ("silent", ("--resources", "nowhere.json"), "No such file or directory: 'nowhere.json'"),
        ("silent", ("--resources", "deep.json"), "deep.json: no resources by name: "),
        ("silent", ("--resources", "latin.json"), "latin.json: no resources by name: "),
        ("silent", ("--resources", "."), "Is a directory: '.'"),
        ("silent", ("--out", "."), "--out: . is a directory: name a file\n"),
        (
            "silent",
            ("--out", "nowhere/x"),
            "--out: there is no directory nowhere: make it first, or name another file\n",
        ),
        ("silent", ("--out", "deep.json/x"), "--out: there is no directory deep.json: make it first, or name another "),
        ("silent", ("--limit", "0"), "argument --limit: invalid"),
        ("silent", ("--timeout", "inf"), "argument --timeout: invalid"),
    ],
)
def test_what_cannot_be_used_is_said_without_a_traceback(
    place: Place, agent: str, options: Sequence[str], said: str
) -> None:
    place.write_tasks(1)
    (place.path / "deep.json").write_text('{"a":' * 100_000, encoding="utf-8")
    (place.path / "latin.json").write_bytes(b'{"caf\xe9": 1}')
    code, out, told = place.run(agent, *options)
    assert code != 0
    assert out == ""
    assert said in told
    assert "Traceback" not in told


@pytest.mark.parametrize("there", ["notes of mine", "notes of mine\n", '{"task_id": 1, "rollout_id": "ro-1"}\n{}\n'])
def test_a_file_that_holds_something_else_is_refused_and_left_as_it_is(place: Place, there: str) -> None:
    place.write_tasks(1)
    place.results.write_text(there, encoding="utf-8")
    code, _, told = place.run("silent")
    assert code == 1
    assert re.match(r"results.jsonl:1: no result of this program \(.*\): name another --out\n", told)
    assert place.results.read_text(encoding="utf-8") == there


@pytest.mark.parametrize("made", ["tasks.jsonl", "results.jsonl"])
def test_a_directory_in_the_place_of_a_file_is_named(place: Place, made: str) -> None:
    if made != "tasks.jsonl":
        place.write_tasks(1)
    (place.path / made).mkdir()
    code, _, told = place.run("silent")
    assert code == 1
    assert made in told
    assert "Traceback" not in told
