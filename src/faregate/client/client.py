"""The client itself: all groups of operations over one connection, and the table of what they are."""
# mypy: disable-error-code="empty-body"
# the head of a method is its declaration, see declaring.py

import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Literal, Self

import httpx2

from faregate.client.configuring import (
    Canaries,
    Credentials,
    Entries,
    Keys,
    Parts,
    Revisions,
    Versions,
    Whole,
)
from faregate.client.declaring import DECLARED, Group, Has, Of, Operation, listing, operation
from faregate.client.forms import Caller, Json, Status
from faregate.client.observing import AuditTree, Calls, HouseSecrets, Ledger, Tools
from faregate.client.people import Changes, GlassBreaking, SignIn, Tokens, Users
from faregate.client.transport import Told, Transport


class Client(Group):
    """A client of the manager at ``url`` (``http://127.0.0.1:9090``), as whoever ``token`` belongs to.

    ``transport``, ``sleep``: in place of the network and the clock. To be closed, or used in a ``with``.
    """

    issuers = Has(Entries, "issuer", "/issuers")
    upstreams = Has(Entries, "upstream", "/upstreams")
    targets = Of(Parts, "target", "/upstreams/{name}/targets")
    plans = Has(Entries, "plan", "/plans")
    groups = Has(Entries, "group", "/groups")
    consumers = Has(Entries, "consumer", "/consumers")
    apis = Has(Entries, "api", "/apis", what="API")
    versions = Of(Versions, "version", "/apis/{name}/versions")
    routes = Of(Parts, "route", "/apis/{name}/routes")
    credentials = Has(Credentials)
    keys = Has(Keys)
    revisions = Has(Revisions)
    config = Has(Whole)
    canary = Has(Canaries)
    audit = Has(AuditTree)
    calls = Has(Calls)
    ledger = Has(Ledger)
    tools = Has(Tools)
    secrets = Has(HouseSecrets)
    users = Has(Users)
    tokens = Has(Tokens)
    sessions = Has(SignIn)
    changes = Has(Changes)
    break_glass = Has(GlassBreaking)

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url
        self._asking = Asking(Transport(url, token, transport=transport, sleep=sleep))
        super().__init__(self._asking)

    @operation("status_get", "GET", "/status")
    def status(self) -> Status:
        """Gateways, and what they run."""

    @listing("usage_list", "/usage")
    def usage(
        self,
        *,
        api: str | None = None,
        version: str | None = None,
        consumer: str | None = None,
        credential: str | None = None,
        hours: int | None = None,
    ) -> Iterator[Caller]:
        """Who calls what: consumer, credential, share, last seen."""

    @operation("schema_get", "GET", "/schemas/{section}")
    def schema(
        self, section: Literal["issuers", "upstreams", "plans", "groups", "consumers", "apis"]
    ) -> Json:
        """The JSON Schema of an entry's `spec`."""

    def wishing(self, *, propose: bool = False, activate_at: str = "", window_s: int = 0) -> Self:
        """From now on all writes come about otherwise: as a change request for a second person (``propose``),
        or at ``activate_at`` (RFC 3339, at most 90 days ahead) and at most ``window_s`` seconds later. Each
        raises Waiting.
        """
        wishes = {
            "x-faregate-propose": "true" if propose else "",
            "x-faregate-activate-at": activate_at,
            "x-faregate-window": str(window_s) if window_s else "",
        }
        self._asking.transport.wishes = {name: value for name, value in wishes.items() if value}
        return self

    @property
    def told(self) -> Told:
        """What the last answer said besides its content."""
        return self._asking.told

    def ask(self, operation: str, values: Mapping[str, object], body: object = None) -> Any:
        """Any operation, by its id and its parameters by their names on the wire. Raises KeyError for a
        parameter of the path that is missing, ClientError.
        """
        return self._asking.ask(operation, values, body)

    def each(self, operation: str, values: Mapping[str, object]) -> Iterator[Any]:
        """Everything that an operation lists, by its id, page after page. Raises as ``ask``."""
        return self._asking.each(operation, values)

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def close(self) -> None:
        self._asking.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Asking:
    """Operations by their ids, over one transport."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.told = Told()

    def ask(self, operation: str, values: Mapping[str, object], body: object = None) -> Any:
        known = OPERATIONS[operation]
        content, self.told = self.transport.send(known, values, body)
        return content

    def each(self, operation: str, values: Mapping[str, object]) -> Iterator[Any]:
        values = dict(values)
        while True:
            page = self.ask(operation, values)
            yield from page["data"]
            values["offset"] = page.get("offset")
            if not values["offset"]:
                return


def operations(owner: type[Group] = Client, inside: Has[Any] | None = None) -> dict[str, Operation]:
    """Those of a group and of what hangs on it, by their ids, in the order of their declaration."""
    place = inside or Has(owner)
    found: dict[str, Operation] = {}
    for kind in reversed(owner.__mro__):
        for one in vars(kind).values():
            if isinstance(one, Has):
                found |= operations(one.group, one)
            elif hasattr(one, DECLARED):
                name, known = getattr(one, DECLARED).of(place.one, place.what, place.at)
                found[name] = known
    return found


OPERATIONS: Final = operations()
"""Every operation of the admin API, by its id."""
