"""The memory for replies beside a plain dict, and its bounds."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lightning_actors.store.change import Remembered
from lightning_actors.store.messages import UpdateManyWorkers
from lightning_actors.store.reply_book import ReplyBook

CLIENTS, REPLIES = 3, 4


def remembered(client: str, number: int, settled_below: int) -> Remembered:
    return Remembered(client, number, settled_below, UpdateManyWorkers, f"{client} {number}")


class ReplyBookMachine(RuleBasedStateMachine):
    """Replies come in any order, from more clients than there is room for."""

    def __init__(self) -> None:
        super().__init__()
        self.book = ReplyBook(replies_a_client=REPLIES, clients=CLIENTS)
        self.pages: dict[str, set[int]] = {}
        self.floors: dict[str, int] = {}

    @rule(client=some.sampled_from("abcde"), number=some.integers(0, 12), settled_below=some.integers(0, 12))
    def put(self, client: str, number: int, settled_below: int) -> None:
        if number < self.floors.get(client, 0):
            return  # what was forgotten is not answered again
        self.book.put(remembered(client, number, settled_below))
        page, floor = self.pages.pop(client, set()), max(self.floors.pop(client, 0), settled_below)
        page = {one for one in page | {number} if one >= floor}
        if len(page) > REPLIES:
            floor = min(page) + 1
            page = {one for one in page if one >= floor}
        self.pages[client], self.floors[client] = page, floor
        if len(self.pages) > CLIENTS:
            oldest = next(iter(self.pages))
            del self.pages[oldest], self.floors[oldest]

    @invariant()
    def it_is_what_the_dict_says(self) -> None:
        for client in "abcde":
            assert self.book.settled_below(client) == self.floors.get(client, 0)
            for number in range(13):
                known = self.book.get(client, number)
                assert (known is not None) == (number in self.pages.get(client, ()))
                assert known is None or known.reply == f"{client} {number}"
        assert len(self.book) == sum(len(page) for page in self.pages.values()) <= CLIENTS * REPLIES


TestReplyBook = ReplyBookMachine.TestCase
TestReplyBook.settings = settings(max_examples=100, stateful_step_count=60)
