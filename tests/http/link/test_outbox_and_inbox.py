"""Lines are cut, sent and joined: nothing long holds up what is short, and no bound is passed unseen."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_actors.http.link.frames import FROM_SERVER, Cancel, Frame, Items, Last, LinkProtocolError, Part, Reply
from lightning_actors.http.link.inbox import Inbox
from lightning_actors.http.link.limits import LinkLimits
from lightning_actors.http.link.outbox import Outbox

SMALL = LinkLimits(part_bytes=16, message_bytes=100, window_bytes=48, payload_bytes=4000)


def reply(number: int, size: int) -> Reply:
    return Reply(number, bytes([97 + number % 26]) * size)


def carry(outbox: Outbox, inbox: Inbox) -> list[Frame]:
    """Everything from one end to the other, with the credit that it is given."""
    frames: list[Frame] = []
    outbox.credit(inbox.credit())
    while (message := outbox.take()) is not None:
        frames += inbox.receive(message)
        outbox.credit(inbox.credit())
    return frames


def take_all(inbox: Inbox, messages: Iterable[bytes]) -> None:
    for message in messages:
        list(inbox.receive(message))
        inbox.credit()


@given(st.lists(st.integers(0, 300), max_size=12), st.booleans())
def test_what_is_put_arrives_whole_and_once(sizes: list[int], in_order: bool) -> None:  # noqa: FBT001 - drawn
    outbox, inbox = Outbox(SMALL, in_order=in_order), Inbox(FROM_SERVER, SMALL, long_ones=1 if in_order else 12)
    replies = [reply(number, size) for number, size in enumerate(sizes)]
    for one in replies:
        outbox.put(one.number, [one.line()])
    arrived = carry(outbox, inbox)
    if in_order:
        assert arrived == replies
    else:
        assert {frame.line() for frame in arrived} == {one.line() for one in replies}
        assert len(arrived) == len(replies)
    assert not outbox
    assert outbox.waiting_bytes == 0


def test_what_is_said_passes_what_is_long() -> None:
    outbox = Outbox(SMALL, in_order=True)
    outbox.credit(48)
    outbox.put(1, [reply(1, 2000).line()])
    assert outbox.take() is not None
    outbox.say(Cancel(2).line())
    message = outbox.take()
    assert message is None or message.startswith(b"cancel 2")


def test_without_credit_nothing_long_is_sent_and_what_is_said_goes_all_the_same() -> None:
    outbox = Outbox(SMALL, in_order=True)
    outbox.put(1, [reply(1, 2000).line()])
    assert outbox.take() is None
    assert outbox
    outbox.say(b"ping")
    assert outbox.take() == b"ping"
    outbox.credit(16)
    piece = outbox.take()
    assert piece is not None
    assert piece.startswith(b"part 1 reply 1 bbb")
    assert outbox.take() is None


def test_in_order_a_short_line_waits_behind_a_long_one() -> None:
    outbox, inbox = Outbox(SMALL, in_order=True), Inbox(FROM_SERVER, SMALL, long_ones=1)
    for one in (reply(1, 100), reply(2, 1), reply(3, 100)):
        outbox.put(one.number, [one.line()])
    assert carry(outbox, inbox) == [reply(1, 100), reply(2, 1), reply(3, 100)]


def test_out_of_order_short_lines_pass_and_long_ones_take_turns() -> None:
    outbox, inbox = Outbox(SMALL, in_order=False), Inbox(FROM_SERVER, SMALL, long_ones=2)
    for one in (reply(1, 1000), reply(2, 60), reply(3, 1)):
        outbox.put(one.number, [one.line()])
    assert carry(outbox, inbox) == [reply(3, 1), reply(2, 60), reply(1, 1000)]


@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=8), max_size=6), st.booleans())
def test_items_arrive_before_what_they_belong_to(asks: list[list[int]], in_order: bool) -> None:  # noqa: FBT001 - drawn
    outbox, inbox = Outbox(SMALL, in_order=in_order), Inbox(FROM_SERVER, SMALL, long_ones=1 if in_order else 6)
    put: dict[int, list[Frame]] = {}
    for number, sizes in enumerate(asks):
        frames = put[number] = [*(Items(number, "A", b"i" * size) for size in sizes[:-1]), reply(number, sizes[-1])]
        outbox.put(number, [frame.line() for frame in frames])
    arrived: dict[int, list[Frame]] = {}
    for frame in carry(outbox, inbox):
        assert isinstance(frame, Items | Reply)
        arrived.setdefault(frame.number, []).append(frame)
    assert arrived == put
    assert outbox.waiting_bytes == 0
    assert not inbox._coming


def test_what_was_withdrawn_is_not_sent_and_what_was_begun_is_broken_off() -> None:
    outbox = Outbox(SMALL, in_order=True)
    outbox.credit(16)
    for number in (1, 2, 3):
        outbox.put(number, [reply(number, 100).line()])
    assert outbox.take() is not None
    assert outbox.withdraw(2)
    assert not outbox.withdraw(1)
    assert not outbox.withdraw(7)
    outbox.credit(16)
    message = outbox.take()
    assert message is not None
    assert message.startswith(b"part 3 ")


def test_many_lines_travel_in_one_message_and_no_message_is_too_long() -> None:
    outbox, inbox = Outbox(SMALL, in_order=False), Inbox(FROM_SERVER, SMALL, long_ones=1)
    for number in range(20):
        outbox.put(number, [reply(number, 1).line()])
    messages: list[bytes] = []
    while (message := outbox.take()) is not None:
        messages.append(message)
    assert len(messages) == 3
    assert all(len(message) <= SMALL.message_bytes for message in messages)
    assert [frame for message in messages for frame in inbox.receive(message)] == [reply(n, 1) for n in range(20)]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([b"x" * 101], r"has 101 bytes, and may have 100 \(message_bytes\)"),
        (
            [Part(1, b"x" * 49).line()],
            r"more than 48 bytes of items and pieces came before they were asked for \(window_bytes\)",
        ),
        ([Part(1, b"x").line(), Part(2, b"x").line()], "more than 1 long asks or answers are on their way at a time"),
        ([Last(1, b"last 1 ping").line()], "the pieces of 1 make a last: only what asks and answers is cut"),
        ([Last(1, b"ping").line()], "the pieces of 1 make a ping: only what asks and answers is cut"),
        ([Last(1, b"reply 2 x").line()], "the pieces of 1 make a reply: only what asks and answers is cut"),
        ([Last(1, b"shout").line()], "begins with one of"),
    ],
)
def test_an_end_that_says_too_much_is_told_which_bound_it_passed(messages: list[bytes], words: str) -> None:
    inbox = Inbox(FROM_SERVER, SMALL, long_ones=1)
    assert inbox.credit() == 48
    with pytest.raises(LinkProtocolError, match=words):
        take_all(inbox, messages)


def test_a_line_longer_than_is_taken_is_refused_before_it_is_complete() -> None:
    inbox = Inbox(FROM_SERVER, SMALL, long_ones=1)
    inbox.credit()
    take_all(inbox, [Part(1, b"x" * 16).line()] * 250)
    with pytest.raises(LinkProtocolError, match=r"longer than 4,000 bytes \(payload_bytes\)"):
        take_all(inbox, [Part(1, b"x").line()])


def test_pieces_that_are_dropped_leave_room_for_others() -> None:
    inbox = Inbox(FROM_SERVER, SMALL, long_ones=1)
    inbox.credit()
    assert list(inbox.receive(Part(1, b"pi").line())) == []
    assert inbox.drop(1)
    assert not inbox.drop(1)
    assert list(inbox.receive(Last(2, b"reply 2 x").line())) == [Reply(2, b"x")]


@given(st.lists(st.binary(max_size=120), max_size=30))
def test_garbage_never_crashes_an_inbox_nor_makes_it_keep_more_than_agreed(messages: list[bytes]) -> None:
    inbox = Inbox(FROM_SERVER, SMALL, long_ones=3)
    for message in messages:
        try:
            list(inbox.receive(message))
        except LinkProtocolError:
            break
        inbox.credit()
        assert len(inbox._coming) <= 3
        assert sum(len(coming.pieces) for coming in inbox._coming.values()) <= 3 * SMALL.payload_bytes
