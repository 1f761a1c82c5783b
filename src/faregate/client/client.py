"""The client itself: all operations over one connection."""

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import httpx2

from faregate.client.operations import Operations
from faregate.client.transport import Transport

_PageT_co = TypeVar("_PageT_co", covariant=True)


class Client(Operations):
    """A client of the manager at ``url`` (``http://127.0.0.1:9090``), as whoever ``token`` belongs to.

    ``transport``, ``sleep``: in place of the network and the clock. To be closed, or used in a ``with``.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(Transport(url, token, transport=transport, sleep=sleep))
        self.url = url

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Listing(Protocol[_PageT_co]):
    """An operation that lists page by page."""

    def __call__(self, *, size: int | None = None, offset: str | None = None) -> _PageT_co: ...


def each(listing: Listing[Any], size: int = 1000) -> Iterator[Any]:
    """Everything that ``listing`` (``client.plan_list``) lists, page after page."""
    offset: str | None = None
    while True:
        page = listing(size=size, offset=offset)
        yield from page["data"]
        offset = page.get("offset")
        if not offset:
            return
