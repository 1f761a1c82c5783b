"""The permissions that a route requires, against those that the caller holds, and the APIs that it may call.

A consumer's grants, narrowed by its token's scope, were made a set when it was authenticated; here is one
comparison. Only where a consumer of the snapshot is bounded to some APIs, or holds a permission in one place
only, a route has a step that knows its place. Who calls is decided before; public routes require nothing.
"""

from collections.abc import Iterable

from faregate.kernel.problems import Refusal
from faregate.policies.authenticate.challenge import INSUFFICIENT_SCOPE
from faregate.snapshot.call import Call, Step, Verdict
from faregate.snapshot.data import Route


def build(route: Route, version: str = "", *, bounded: bool = False) -> "Step | None":
    """A step that lets a call pass when its identity holds every permission in ``route.require``; None where
    there is nothing to ask.

    ``version``: the name of the route's. ``bounded``: whether a consumer may call some APIs only or holds a
    permission in one place only. Raises ``ValueError`` for a public route that requires permissions: nobody
    could ever pass.
    """
    if not route.require and not (bounded and route.authenticate):
        return None
    if not route.authenticate:
        raise ValueError(f"{route.label}: a public route cannot require permissions")
    if bounded:
        return _in_place(route, version)
    required = frozenset(route.require)

    def permit(call: Call) -> Verdict:
        identity = call.identity
        if identity is not None and required <= identity.permissions:
            return None
        if identity is None:
            return _nobody()
        return _lacks(narrowed=required <= identity.consumer.permissions)

    return permit


def _in_place(route: Route, version: str) -> Step:
    required, api, place = frozenset(route.require), route.api, f"{route.api}/{version}"
    placed = tuple([(one, f"{one}@{api}", f"{one}@{place}") for one in route.require])

    def permit(call: Call) -> Verdict:
        identity = call.identity
        if identity is None:
            return _nobody()
        consumer = identity.consumer
        apis = consumer.apis
        if apis is not None and api not in apis and place not in apis:
            return Refusal("permission_denied", reason="api_not_granted")
        if required <= identity.permissions or _held(placed, identity.permissions):
            return None
        return _lacks(narrowed=_held(placed, consumer.permissions))

    return permit


def _held(placed: Iterable[tuple[str, str, str]], grants: frozenset[str]) -> bool:
    """Whether each of the permissions is granted everywhere, for the API or for the version."""
    for everywhere, in_api, in_version in placed:
        if everywhere not in grants and in_api not in grants and in_version not in grants:
            return False
    return True


def _nobody() -> Refusal:
    """Cannot be: authenticate stands before this step; closed all the same."""
    return Refusal("permission_denied", reason="no_identity")


def _lacks(*, narrowed: bool) -> Refusal:
    """RFC 6750 section 3.1: a token that was ``narrowed`` below what its consumer may do is told so."""
    return Refusal(
        "permission_denied",
        reason="scope_lacks_permission" if narrowed else "consumer_lacks_permission",
        headers=INSUFFICIENT_SCOPE if narrowed else b"",
    )
