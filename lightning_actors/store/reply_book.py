"""`ReplyBook`: what was answered to whom, for those who may ask again; bounded."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from lightning_actors.store.change import Remembered

__all__ = ["CLIENTS", "REPLIES_A_CLIENT", "ReplyBook"]

REPLIES_A_CLIENT: Final = 1_024
CLIENTS: Final = 4_096


class _Page:
    """The replies to one client by number, and the number below which there are none any more."""

    __slots__ = ("replies", "settled_below")

    def __init__(self) -> None:
        self.replies: dict[int, Remembered] = {}
        self.settled_below = 0


class ReplyBook:
    """Replies by client and number.

    A client says below which number it needs no reply. Where it keeps more than its share, the lowest numbers go; where
    there are too many clients, all of the one that was heard of least recently.
    """

    def __init__(self, *, replies_a_client: int = REPLIES_A_CLIENT, clients: int = CLIENTS) -> None:
        self._pages: OrderedDict[str, _Page] = OrderedDict()
        self._replies_a_client = replies_a_client
        self._clients = clients

    def __len__(self) -> int:
        return sum(len(page.replies) for page in self._pages.values())

    def get(self, client: str, number: int) -> Remembered | None:
        """What was answered to this number."""
        page = self._pages.get(client)
        return None if page is None else page.replies.get(number)

    def settled_below(self, client: str) -> int:
        """Below this number a reply may have been forgotten."""
        page = self._pages.get(client)
        return 0 if page is None else page.settled_below

    def put(self, remembered: Remembered) -> None:
        """Remember one more, and forget what nobody needs."""
        page = self._pages.get(remembered.client)
        if page is None:
            page = self._pages[remembered.client] = _Page()
        self._pages.move_to_end(remembered.client)
        page.replies[remembered.number] = remembered
        if remembered.settled_below > page.settled_below:
            self._forget(page, remembered.settled_below)
        if len(page.replies) > self._replies_a_client:
            self._forget(page, min(page.replies) + 1)
        if len(self._pages) > self._clients:
            self._pages.popitem(last=False)

    def _forget(self, page: _Page, below: int) -> None:
        page.settled_below = below
        for number in [number for number in page.replies if number < below]:
            del page.replies[number]
