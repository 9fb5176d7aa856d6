"""Frames: what is said comes back as it was, and what is none is refused in few words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_actors.http.link.frames import (
    FROM_CLIENT,
    FROM_SERVER,
    Ask,
    Bye,
    Cancel,
    Credit,
    Fault,
    Frame,
    Hello,
    Items,
    Kinds,
    Last,
    LinkProtocolError,
    Part,
    Ping,
    Pong,
    Ready,
    Reply,
    Settled,
    Stopped,
    Unwatch,
    Watch,
    Welcome,
    parse,
)

NUMBERS = st.integers(min_value=0, max_value=10**18 - 1)
NAMES = st.text(max_size=200)
LINES = st.binary().map(lambda data: data.replace(b"\n", b" "))

CLIENT_FRAMES = st.one_of(
    st.builds(Hello, st.text(min_size=1, max_size=200), NUMBERS, NUMBERS, st.integers(0, 9), NAMES),
    st.builds(Ask, NUMBERS, st.sampled_from(["EnqueueRollout", "Statistics"]), LINES),
    st.builds(Items, NUMBERS, st.just("AddManySpans"), LINES),
    st.builds(Part, NUMBERS, LINES),
    st.builds(Last, NUMBERS, LINES),
    st.builds(Cancel, NUMBERS),
    st.builds(Settled, NUMBERS),
    st.builds(Credit, NUMBERS),
    st.builds(Watch, st.none() | NAMES),
    st.builds(Unwatch, st.none() | NAMES),
    st.builds(Bye, st.text(), st.booleans()),
    st.sampled_from([Ping(), Pong()]),
)
SERVER_FRAMES = st.one_of(
    st.builds(Welcome, NUMBERS, NUMBERS, NUMBERS, st.integers(0, 9), NAMES),
    st.builds(Reply, NUMBERS, LINES),
    st.builds(Fault, NUMBERS, LINES),
    st.builds(Items, NUMBERS, st.just("AddManySpans"), LINES),
    st.builds(Part, NUMBERS, LINES),
    st.builds(Last, NUMBERS, LINES),
    st.builds(Credit, NUMBERS),
    st.builds(Stopped, NAMES, st.text()),
    st.builds(Bye, st.text(), st.booleans()),
    st.sampled_from([Ping(), Pong(), Ready()]),
)


@given(CLIENT_FRAMES)
def test_what_a_client_says_comes_back_as_it_was(frame: Frame) -> None:
    assert b"\n" not in frame.line()
    assert parse(frame.line(), FROM_CLIENT) == frame


@given(SERVER_FRAMES)
def test_what_a_server_says_comes_back_as_it_was(frame: Frame) -> None:
    assert b"\n" not in frame.line()
    assert parse(frame.line(), FROM_SERVER) == frame


def test_both_sides_know_every_frame_that_is_tested_here() -> None:
    assert len(FROM_CLIENT) == 13
    assert len(FROM_SERVER) == 12


VERBS = st.sampled_from([*FROM_CLIENT, *FROM_SERVER, b"", b"shout"])


def parsed_or_refused(line: bytes, kinds: Kinds) -> Frame | str:
    try:
        return parse(line, kinds)
    except LinkProtocolError as error:
        return str(error)


@given(st.sampled_from([FROM_CLIENT, FROM_SERVER]), st.binary() | st.tuples(VERBS, LINES).map(b" ".join))
def test_garbage_is_refused_by_name_and_in_few_words(kinds: Kinds, line: bytes) -> None:
    frame = parsed_or_refused(line, kinds)
    if isinstance(frame, str):
        assert len(frame) < 800
    else:
        assert parse(frame.line(), kinds) == frame


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"reply 1 {}", "begins with one of hello, ask"),
        (b"cancel -1", "number of at most 18 digits"),
        (b"cancel 1_0", "number of at most 18 digits"),
        (b"cancel " + b"9" * 4000, "and 3,940 bytes more"),
        (b"ask 1 EnqueueRollout", "ask wants a number, the name of an operation and JSON"),
        (b"ask 1 os.system {}", "ask wants a number, the name of an operation and JSON"),
        (b"ping 1", "ping stands alone"),
        (b'hello {"settled":1}', "client: Field required"),
        (b"hello {", "hello has fields that do not fit"),
        (b'watch {"attempt_id":"' + b"a" * 201 + b'"}', "at most 200 characters"),
        (b"", "begins with one of"),
    ],
)
def test_an_error_says_what_was_expected(line: bytes, words: str) -> None:
    with pytest.raises(LinkProtocolError, match=words):
        parse(line, FROM_CLIENT)


def test_fields_that_are_not_known_here_are_passed_over() -> None:
    hello = parse(b'hello {"client":"client-1","mood":"good"}', FROM_CLIENT)
    assert hello == Hello("client-1")
