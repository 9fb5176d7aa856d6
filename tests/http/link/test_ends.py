"""Both ends of a link without a network: whatever is lost on the way, each ask is answered once and in order."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_actors.http.link.client_end import ClientEnd
from lightning_actors.http.link.frames import (
    Ask,
    Bye,
    Cancel,
    Fault,
    Frame,
    Hello,
    Items,
    LinkProtocolError,
    Part,
    Pong,
    Ready,
    Reply,
    Settled,
    Stopped,
    Unwatch,
    Watch,
    Welcome,
)
from lightning_actors.http.link.limits import LinkLimits
from lightning_actors.http.link.server_end import ServerEnd

SMALL = LinkLimits(part_bytes=64, message_bytes=512, window_bytes=256, payload_bytes=5000, asks=4, waits=3, watches=5)
WAITING = frozenset({"WaitForRollouts"})
WELCOME = Welcome(SMALL.asks, SMALL.waits, SMALL.payload_bytes, store="InMemoryLightningStore", durable=True)


def server_end() -> ServerEnd:
    return ServerEnd(SMALL, WELCOME, waiting=WAITING)


def take_all(end: ClientEnd | ServerEnd, messages: Iterable[bytes]) -> None:
    for message in messages:
        list(end.receive(message))


class Line:
    """A connection between two ends."""

    def __init__(self, client: ClientEnd) -> None:
        self.client = client
        self.server = server_end()
        self.to_client: list[Frame] = []
        self.to_server: list[Frame] = []
        self.asked: list[Ask] = []
        client.connect()
        self.carry()

    def carry(self) -> None:
        """Take everything to where it belongs."""
        while self.carry_one():
            pass

    def carry_one(self) -> bool:
        """Take one message each way; whether there was any."""
        sent, answered = self.client.take(), self.server.take()
        if sent is not None:
            self.to_server += self.server.receive(sent)
        while (ask := self.server.next_ask()) is not None:
            self.asked.append(ask)
        if answered is not None:
            self.to_client += self.client.receive(answered)
        return sent is not None or answered is not None

    def told_client(self) -> list[Frame]:
        """What came to the client since the last look."""
        self.carry()
        told, self.to_client = self.to_client, []
        return told

    def told_server(self) -> list[Frame]:
        """What came to the server since the last look."""
        self.carry()
        told, self.to_server = self.to_server, []
        return told


@pytest.fixture
def client() -> ClientEnd:
    return ClientEnd("client-1", SMALL, library="0.1.0")


def test_a_client_says_who_it_is_and_is_let_in(client: ClientEnd) -> None:
    line = Line(client)
    assert line.told_server() == [Hello("client-1", 1, 5000, library="0.1.0")]
    assert line.told_client() == [WELCOME]
    assert client.welcome == WELCOME


def test_each_ask_is_answered_by_number(client: ClientEnd) -> None:
    line = Line(client)
    first, second = client.ask("EnqueueRollout", b"1"), client.ask("Statistics", b"{}", changes=False)
    line.carry()
    assert line.asked == [Ask(first, "EnqueueRollout", b"1"), Ask(second, "Statistics", b"{}")]
    line.server.fault(second, b'"no"')
    line.server.reply(first, b'"yes"')
    line.told_client()
    assert client.in_flight == 0


def test_an_answer_is_taken_once(client: ClientEnd) -> None:
    line = Line(client)
    number = client.ask("EnqueueRollout", b"1")
    line.carry()
    line.server.reply(number, b"1")
    line.server.reply(number, b"2")
    line.server.fault(77, b"3")
    assert line.told_client()[-1] == Reply(number, b"1")
    assert list(client.receive(Reply(number, b"2").line())) == []


def test_asks_made_without_a_connection_are_sent_when_there_is_one(client: ClientEnd) -> None:
    number = client.ask("EnqueueRollout", b"1")
    assert client.take() is None
    line = Line(client)
    assert line.asked == [Ask(number, "EnqueueRollout", b"1")]


def test_what_is_in_flight_is_sent_again_over_the_next_connection_with_the_same_number(client: ClientEnd) -> None:
    line = Line(client)
    numbers = [client.ask("EnqueueRollout", b"%d" % n) for n in range(3)]
    line.carry()
    line.server.reply(numbers[1], b"null")
    line.carry()
    client.disconnect()
    again = Line(client)
    assert [ask.number for ask in again.asked] == [numbers[0], numbers[2]]
    assert again.told_server() == [Hello("client-1", numbers[0], 5000, library="0.1.0")]


def test_what_nobody_waits_for_any_more_is_not_sent_again(client: ClientEnd) -> None:
    line = Line(client)
    first, second = client.ask("EnqueueRollout", b"1"), client.ask("EnqueueRollout", b"2")
    line.carry()
    client.cancel(first)
    client.disconnect()
    third = client.ask("EnqueueRollout", b"3")
    client.cancel(third)
    assert [ask.number for ask in Line(client).asked] == [second]


def test_a_cancelled_ask_that_was_not_sent_never_is(client: ClientEnd) -> None:
    line = Line(client)
    number = client.ask("EnqueueRollout", b"1")
    client.cancel(number)
    client.cancel(number)
    line.carry()
    assert line.asked == []
    assert client.in_flight == 0


def test_a_cancelled_ask_is_over_when_the_server_says_so(client: ClientEnd) -> None:
    line = Line(client)
    number = client.ask("WaitForRollouts", b"{}", waits=True, changes=False)
    line.carry()
    line.told_server()
    client.cancel(number)
    assert line.told_server() == [Cancel(number)]
    assert client.in_flight == 1
    line.server.fault(number, b"null")
    assert line.told_client()[-1] == Fault(number, b"null")
    assert client.in_flight == 0


def test_a_long_ask_that_is_cancelled_half_way_is_never_carried_out(client: ClientEnd) -> None:
    line = Line(client)
    number = client.ask("AddManySpans", b"x" * 2000)
    line.carry_one()
    client.cancel(number)
    after = client.ask("AddManySpans", b"y" * 2000)
    line.carry()
    assert [ask.number for ask in line.asked] == [after]
    assert client.in_flight == 1


def test_an_ask_that_came_and_was_not_begun_is_skipped_when_it_is_cancelled(client: ClientEnd) -> None:
    server = server_end()
    list(server.receive(b'hello {"client":"client-1"}\nask 1 EnqueueRollout 1\nask 2 EnqueueRollout 2\ncancel 1'))
    assert server.next_ask() == Ask(2, "EnqueueRollout", b"2")
    assert server.next_ask() is None
    assert b"fault 1 null" in (server.take() or b"").split(b"\n")


def test_what_is_urgent_passes_a_long_ask_and_the_rest_stays_in_order(client: ClientEnd) -> None:
    line = Line(client)
    long = client.ask("AddManySpans", b"x" * 4000)
    after = client.ask("UpdateAttempt", b"1")
    line.carry_one()
    urgent = client.ask("RenewLeases", b"{}", urgent=True)
    line.carry_one()
    assert [ask.number for ask in line.asked] == [urgent]
    line.carry()
    assert [ask.number for ask in line.asked] == [urgent, long, after]


def test_a_short_answer_passes_a_long_one(client: ClientEnd) -> None:
    line = Line(client)
    long, short = client.ask("QuerySpans", b"1", changes=False), client.ask("GetRolloutById", b"2", changes=False)
    line.carry()
    line.told_client()
    line.server.reply(long, b"x" * 4000)
    line.carry_one()
    line.server.reply(short, b"y")
    assert line.told_client() == [Reply(short, b"y"), Reply(long, b"x" * 4000)]


def test_items_come_with_what_they_belong_to_both_ways(client: ClientEnd) -> None:
    line = Line(client)
    number = client.ask("AddManySpans", b"{}", [b"[1,2]", b"[3]"])
    assert line.told_server()[1:] == [Items(number, "AddManySpans", b"[1,2]"), Items(number, "AddManySpans", b"[3]")]
    assert line.asked == [Ask(number, "AddManySpans", b"{}")]
    line.server.reply(number, b"[]", [b"[1]", b"[3]"])
    assert line.told_client()[1:] == [
        Items(number, "AddManySpans", b"[1]"),
        Items(number, "AddManySpans", b"[3]"),
        Reply(number, b"[]"),
    ]


def test_an_ask_that_is_cancelled_between_its_items_is_never_carried_out(client: ClientEnd) -> None:
    line = Line(client)
    number = client.ask("AddManySpans", b"{}", [b"[" + b"1" * 50 + b"]"] * 30)
    line.carry_one()
    assert 0 < sum(isinstance(frame, Items) for frame in line.to_server) < 30
    client.cancel(number)
    line.carry()
    assert line.asked == []
    assert line.told_server()[-1] == Cancel(number)
    assert client.in_flight == 0


def test_no_more_asks_are_sent_than_the_server_takes_and_waits_do_not_count(client: ClientEnd) -> None:
    line = Line(client)
    waits = [client.ask("WaitForRollouts", b"{}", waits=True, changes=False) for _ in range(3)]
    numbers = [client.ask("EnqueueRollout", b"1") for _ in range(10)]
    line.carry()
    assert [ask.number for ask in line.asked] == [*waits, *numbers[:4]]
    for number in numbers[:2]:
        line.server.reply(number, b"null")
    line.carry()
    assert [ask.number for ask in line.asked] == [*waits, *numbers[:6]]
    assert line.server.refusal_of_waits() is None
    client.ask("WaitForRollouts", b"{}", waits=True, changes=False)
    for number in numbers[2:]:
        line.server.reply(number, b"null")
        line.carry()
    line.carry()
    assert line.server.refusal_of_waits() is not None


def test_watches_are_told_and_hold_over_the_next_connection(client: ClientEnd) -> None:
    client.watch("at-1")
    line = Line(client)
    client.watch(None)
    client.watch("at-2")
    client.unwatch("at-2")
    client.unwatch("at-2")
    assert line.told_server()[1:] == [Watch("at-1"), Watch(None), Watch("at-2"), Unwatch("at-2")]
    line.server.ready()
    line.server.ready()
    line.server.stopped("at-1", "cancelled")
    line.server.stopped("at-1", "cancelled")
    line.server.stopped("at-2", "cancelled")
    assert line.told_client()[1:] == [Ready(), Stopped("at-1", "cancelled")]
    line.server.ready()
    assert line.told_client() == [Ready()]
    client.disconnect()
    assert Line(client).told_server()[1:] == [Watch("at-1"), Watch(None)]


def test_a_server_that_nobody_listens_to_says_nothing(client: ClientEnd) -> None:
    line = Line(client)
    line.told_client()
    line.server.ready()
    line.server.stopped("at-1", "cancelled")
    assert line.told_client() == []


def test_either_side_says_whether_it_is_there_and_when_it_goes(client: ClientEnd) -> None:
    line = Line(client)
    client.ping()
    assert line.told_client()[-1] == Pong()
    line.server.bye("the server stops", final=False)
    client.bye("the client goes")
    line.server.bye("once is enough")
    assert line.told_client() == [Bye("the server stops")]
    assert line.server.is_over


def test_the_server_learns_below_which_number_nothing_is_needed(client: ClientEnd) -> None:
    line = Line(client)
    waiting = client.ask("WaitForRollouts", b"{}", waits=True, changes=False)
    for _ in range(200):
        number = client.ask("EnqueueRollout", b"1")
        line.carry()
        line.server.reply(number, b"null")
        line.carry()
    assert line.server.settled > 100
    assert line.server.settled > waiting


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([b"ping"], "says hello first, not ping"),
        ([b'hello {"client":"c"}', b'hello {"client":"c"}'], "hello twice"),
        ([b'hello {"client":"c","version":2}'], "speaks version 1 of the link's protocol, and the client version 2"),
        ([b'hello {"client":"c"}', b"ask 1 A 1\nask 1 A 1"], "ask 1 is in hand already"),
        ([b'hello {"client":"c"}', b"ask 1 A 1\nitems 1 A [1]"], "ask 1 is in hand already"),
        ([b'hello {"client":"c"}', *(b"ask %d A 1" % n for n in range(6))], r"more than 4 asks are in flight \(asks\)"),
        (
            [b'hello {"client":"c"}', *(b"ask %d WaitForRollouts 1" % n for n in range(7))],
            r"far more than 3 asks wait \(waits\)",
        ),
        (
            [b'hello {"client":"c"}', *(b'watch {"attempt_id":"%d"}' % n for n in range(6))],
            r"more than 5 attempts are watched \(watches\)",
        ),
        ([b'hello {"client":"c"}', *[b"\n".join([b"ping"] * 100)] * 60], r"says much and reads nothing"),
    ],
)
def test_a_client_that_goes_beyond_what_was_agreed_is_told_so(messages: Iterable[bytes], words: str) -> None:
    server = server_end()
    with pytest.raises(LinkProtocolError, match=words):
        take_all(server, messages)


def test_an_answer_that_is_too_long_for_the_client_is_known_before(client: ClientEnd) -> None:
    line = Line(client)
    assert line.server.refusal(5000) is None
    assert str(line.server.refusal(5001)) == (
        "the answer has 5,001 bytes, and this client takes 5,000 at a time: ask for pages, with limit and offset"
    )
    numbers = [client.ask("QuerySpans", b"1", changes=False) for _ in range(4)]
    line.carry()
    for number in numbers[:3]:
        line.server.reply(number, b"x" * 3000)
    assert "and 9,024 wait for this client already" in str(line.server.refusal(3000))


def test_no_ask_is_begun_while_too_much_waits_to_be_sent() -> None:
    server = server_end()
    list(server.receive(b'hello {"client":"c"}\nask 1 A 1\nask 2 A 2\nask 3 A 3'))
    for number in (1, 2):
        assert server.next_ask() == Ask(number, "A", b"%d" % number)
        server.reply(number, b"x" * 3000)
    assert server.next_ask() is None
    list(server.receive(b"credit 10000"))
    while server.take() is not None:
        pass
    assert server.next_ask() == Ask(3, "A", b"3")


def test_no_more_pieces_are_asked_for_while_too_much_is_in_hand(client: ClientEnd) -> None:
    line = Line(client)
    numbers = [client.ask("AddManySpans", b"x" * 4900) for _ in range(3)]
    line.carry()
    assert [ask.number for ask in line.asked] == numbers[:2]
    line.server.reply(numbers[0], b"[]")
    line.carry()
    assert [ask.number for ask in line.asked] == numbers


def test_nor_are_more_items(client: ClientEnd) -> None:
    line = Line(client)
    numbers = [client.ask("AddManySpans", b"{}", [b"[%b]" % (b"1" * 50)] * 64) for _ in range(3)]
    line.carry()
    assert [ask.number for ask in line.asked] == numbers[:2]
    client.cancel(numbers[2])
    line.carry()
    for number in numbers[:2]:
        line.server.reply(number, b"[]")
    line.carry()
    after = client.ask("AddManySpans", b"{}", [b"[%b]" % (b"1" * 50)] * 64)
    line.carry()
    assert [ask.number for ask in line.asked][2:] == [after]
    assert line.server._in_hand._sizes.keys() == {after}


def in_pieces(number: int, line: bytes) -> list[bytes]:
    """Messages that bring a long line about an ask."""
    pieces = [b"part %d %b" % (number, line[at : at + 250]) for at in range(0, len(line), 250)]
    return [*pieces, b"last %d " % number]


def test_waits_of_too_many_bytes_are_refused_and_of_far_too_many_end_the_connection() -> None:
    server = server_end()
    take_all(server, [b'hello {"client":"c"}'])
    bounds: list[str | None] = []
    for number in range(1, 5):
        take_all(server, in_pieces(number, b"ask %d WaitForRollouts %b" % (number, b"x" * 4900)))
        refusal = server.refusal_of_waits()
        bounds.append(None if refusal is None else refusal.bound)
    assert bounds == [None, None, "payload_bytes", "waits"]
    server.fault(4, b"{}")
    server.fault(3, b"{}")
    assert server.refusal_of_waits() is None
    longer = [in_pieces(number, b"ask %d WaitForRollouts %b" % (number, b"x" * 4900)) for number in range(5, 8)]
    with pytest.raises(LinkProtocolError, match=r"bytes of asks that wait"):
        take_all(server, itertools.chain(*longer))


def test_a_server_that_says_welcome_twice_is_no_server(client: ClientEnd) -> None:
    client.connect()
    welcome = Welcome(4, 3, 5000).line()
    assert list(client.receive(welcome)) == [Welcome(4, 3, 5000)]
    with pytest.raises(LinkProtocolError, match="welcome twice"):
        list(client.receive(welcome))


class Lossy:
    """A client, a server that remembers what it carried out, and connections that break."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self.client = ClientEnd("client-1", SMALL)
        self.line = Line(self.client)
        self.carried_out: dict[int, bytes] = {}
        self.answered: dict[int, bytes] = {}
        self.asked: dict[int, bytes] = {}
        self.cancelled: set[int] = set()

    def ask(self) -> None:
        payload = b"%d" % self._draw.randrange(1000) * self._draw.choice([1, 1, 40, 700])
        self.asked[self.client.ask("EnqueueRollout", payload)] = payload

    def cancel(self) -> None:
        open_ones = sorted(self.asked.keys() - self.answered.keys())
        if open_ones:
            number = self._draw.choice(open_ones)
            self.cancelled.add(number)
            self.client.cancel(number)

    def carry(self) -> None:
        self.line.carry()
        self._note()

    def carry_one(self) -> None:
        self.line.carry_one()
        self._note()

    def serve(self) -> None:
        for ask in self.line.asked:
            if ask.number not in self.carried_out:  # as a store remembers by client and number
                assert ask.number > max(self.carried_out, default=0)
                self.carried_out[ask.number] = ask.payload
            self.line.server.reply(ask.number, b"to " + self.carried_out[ask.number][:100])
        self.line.asked.clear()

    def lose(self) -> None:
        self.client.disconnect()
        self.line = Line(self.client)

    def _note(self) -> None:
        for frame in self.line.to_client:
            if isinstance(frame, Reply):
                assert frame.number not in self.answered
                self.answered[frame.number] = frame.payload
        self.line.to_client.clear()


@given(st.randoms(use_true_random=False), st.integers(5, 60))
def test_whatever_is_lost_each_change_is_carried_out_in_order_and_answered_once(
    draw: random.Random, steps: int
) -> None:
    lossy = Lossy(draw)
    actions = [lossy.ask, lossy.ask, lossy.carry, lossy.carry_one, lossy.serve, lossy.cancel, lossy.lose]
    for _ in range(steps):
        draw.choice(actions)()
    while lossy.client.in_flight:
        lossy.carry()
        lossy.serve()
        lossy.carry()
    assert set(lossy.asked) - lossy.cancelled <= set(lossy.answered)
    assert all(payload == b"to " + lossy.asked[number][:100] for number, payload in lossy.answered.items())


def frame_like(verb: bytes, number: int, rest: bytes) -> bytes:
    return b"%b %d %b" % (verb, number, rest)


GARBAGE = st.binary(max_size=80) | st.builds(
    frame_like,
    st.sampled_from(
        [b"ask", b"reply", b"fault", b"part", b"last", b"credit", b"cancel", b"settled", b"watch", b"items"]
    ),
    st.integers(0, 5),
    st.binary(max_size=40),
)


@given(st.lists(st.lists(GARBAGE, max_size=5).map(b"\n".join), max_size=40))
def test_garbage_never_crashes_a_server_nor_grows_it_without_bound(messages: list[bytes]) -> None:
    server = server_end()
    list(server.receive(b'hello {"client":"c"}'))
    for message in messages:
        try:
            for _ in server.receive(message):
                pass
        except LinkProtocolError:
            break
        assert len(server._in_hand) <= 2 * SMALL.waits + 5
        assert server._outbox.waiting_bytes <= 2 * SMALL.payload_bytes
        assert len(server._watched) <= SMALL.watches


@given(st.lists(st.lists(GARBAGE, max_size=5).map(b"\n".join), max_size=40))
def test_garbage_never_crashes_a_client(messages: list[bytes]) -> None:
    client = ClientEnd("client-1", SMALL)
    client.connect()
    for _ in range(3):
        client.ask("EnqueueRollout", b"1")
    for message in messages:
        try:
            list(client.receive(message))
        except LinkProtocolError:
            break


def test_frames_after_the_last_word_are_passed_over() -> None:
    server = server_end()
    told = list(server.receive(b'hello {"client":"c"}\nbye {"reason":"done"}\nask 1 A 1\nsettled 5'))
    assert told == [Hello("c"), Bye("done")]
    assert server.next_ask() is None
    assert server.settled == 1
    assert Settled(5) not in told
    assert Part(1, b"") not in told
