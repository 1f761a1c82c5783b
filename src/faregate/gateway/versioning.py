"""What versions add to a call: its route settled from the head or from who calls, and its message carried
into the form that the upstream speaks.

Between ``Checking`` and ``Exchange``. A route that needs neither comes nowhere near: the router knows the
first (``gateway.choosing``), ``ReadyRoute.holds`` the second. Requests are changed behind the claim, so that
a fingerprint is of the caller's own bytes; answers, before they are stored, so that a repeat gets what was
told (``Settling``). What is changed is ``policies.transform``'s.
"""

from typing import TYPE_CHECKING

from faregate.gateway.carrying import carried_request
from faregate.gateway.checking import Checking
from faregate.gateway.choosing import ReadyChoice, ReadySplit
from faregate.kernel.problems import Refusal
from faregate.policies.transform.step import BODY_BYTES_MAX, Carried
from faregate.policies.versions.step import split_key, split_to
from faregate.snapshot.call import ReadyRoute, Step

if TYPE_CHECKING:
    from faregate.gateway.router import Endpoint


class Versioning(Checking):
    """``_carried_alone``: the body is awaited for the changes only. ``_passed``: steps that the call has
    passed on the route that settled its version.
    """

    _carried_alone: bool = False
    _passed: tuple[Step, ...] = ()

    # which route

    def _choose(
        self, endpoint: "Endpoint[ReadyRoute]", method: bytes, path: bytes, rest: bytes
    ) -> ReadyRoute | None:
        """Takes the route of a call to a place where no plain route takes ``method``; None when the call was
        refused.
        """
        self.call.route = route = self._chosen(endpoint, method, path, rest)
        if route is None or self.plane.in_flight <= self.plane.calls_least:
            return route
        return self._admitted(route, rest)

    def _chosen(
        self, endpoint: "Endpoint[ReadyRoute]", method: bytes, path: bytes, rest: bytes
    ) -> ReadyRoute | None:
        choice = endpoint.choices.get(method)
        if not isinstance(choice, ReadyChoice):
            self._announce_unread(rest)
            self._refuse_method(endpoint.allow)
            return None
        value = choice.table.chooser.value_of(self.fields.raw)
        undecided = choice.undecided
        if value is None and undecided is not None:
            return undecided
        name = choice.table.chooser.choose(value).name
        if not name:
            return choice.unknown
        route = self._route_of(choice, name, method, path)
        if route is None:
            self._announce_unread(rest)
            self._refuse_place(choice, name, path)
        return route

    def _settled(self, route: ReadyRoute) -> ReadyRoute | None:
        """The route of a call whose consumer is known by now; None when it was refused."""
        call = self.call
        deciding = route.deciding
        if isinstance(deciding, ReadySplit):
            self._passed = deciding.passed
            return self._shared(deciding, route)
        assert isinstance(deciding, ReadyChoice)
        self._passed = deciding.passed
        identity = call.identity
        consumer = None if identity is None else identity.consumer
        name = deciding.table.chooser.choose(None, consumer).name
        path = call.path.encode("ascii")
        found = self._route_of(deciding, name, call.method, path)
        if found is None:
            self._refuse_place(deciding, name, path)
        return found

    def _shared(self, split: ReadySplit, route: ReadyRoute) -> ReadyRoute:
        """The route of a version that shares its calls, or of the one that has this call."""
        index = split_to(route.data.api, route.version, split_key(self.call))
        other = None if index is None else split.others.get(index)
        if other is None or not self.target.startswith(split.prefix):  # whose path is spelt otherwise, stays
            return split.own
        return other

    def _route_of(self, choice: ReadyChoice, name: str, method: bytes, path: bytes) -> ReadyRoute | None:
        router = choice.table.routers.get(name)
        found = None if router is None else router.find(path)
        return None if found is None else found.methods.get(method)

    def _refuse_place(self, choice: ReadyChoice, name: str, path: bytes) -> None:
        """The version has no such route."""
        router = choice.table.routers.get(name)
        found = None if router is None else router.find(path)
        if found is None:
            self.refuse(Refusal("no_route", reason="no_route_in_version"))
        else:
            self._refuse_method(found.allow)

    def _refuse_method(self, allow: bytes) -> None:
        self.refuse(
            Refusal("method_not_allowed", reason="method_not_allowed", headers=b"Allow: %b\r\n" % allow)
        )

    def _takes_body(self, route: ReadyRoute) -> bool:
        """Whether the settled route takes a body of this size, which so far was held against the largest of
        all; else the call was refused.
        """
        body = self.body
        if body is None:
            return True
        if max(body.received_bytes, self.fields.content_length) > route.body_bytes:
            self.refuse(Refusal("body_too_large", reason="content_length", close=True))
            return False
        body.settle(route.body_bytes, capture=bool(route.data.log_request_body))
        return True

    # into which form

    def _holds(self, route: ReadyRoute) -> bool:
        changes = route.changes
        if isinstance(changes, Carried) and (changes.response_body or changes.response_headers):
            self._answer_changes = changes
            self._watched = True
            self._held_max = max(self._held_max, BODY_BYTES_MAX)
        if super()._holds(route):
            return True
        if not isinstance(changes, Carried):
            return False
        body = self.body
        if body is not None and body.left and changes.request_body:
            self._carried_alone = True
            self._collect(body)
        else:
            self._send_on(route)
        return True

    def _collected(self) -> None:
        if not self._carried_alone:
            super()._collected()
            return
        route = self.call.route
        assert route is not None
        self._send_on(route)

    def _send_on(self, route: ReadyRoute) -> None:
        changes = route.changes
        if isinstance(changes, Carried):
            body = self.body
            whole = body is not None and body.left == 0 and bool(changes.request_body)
            content = body.content() if body is not None and whole else b""
            try:
                fields, made = carried_request(self.fields, content, changes)
            except Refusal as refusal:
                self.refuse(refusal)
                return
            if body is not None and made is not content:
                body.replace(made)
            self.fields = fields
            self.target = changes.target(self.target)
        super()._send_on(route)
