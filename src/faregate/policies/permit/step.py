"""The permissions that a route requires, against those that the caller holds.

A consumer's grants, narrowed by its token's scope, were made a set when it was authenticated; here is one
comparison. Who calls is decided before; public routes require nothing.
"""

from faregate.kernel.problems import Refusal
from faregate.policies.authenticate.challenge import INSUFFICIENT_SCOPE
from faregate.snapshot.call import Call, Step, Verdict
from faregate.snapshot.data import Route


def build(route: Route) -> "Step | None":
    """A step that lets a call pass when its identity holds every permission in ``route.require``; None
    without any.

    Raises ``ValueError`` for a public route that requires permissions: nobody could ever pass.
    """
    if not route.require:
        return None
    if not route.authenticate:
        raise ValueError(f"{route.label}: a public route cannot require permissions")
    required = frozenset(route.require)

    def permit(call: Call) -> Verdict:
        identity = call.identity
        if identity is not None and required <= identity.permissions:
            return None
        return _refuse(call, required)

    return permit


def _refuse(call: Call, required: frozenset[str]) -> Refusal:
    if call.identity is None:  # cannot be: authenticate stands before this step; closed all the same
        return Refusal("permission_denied", reason="no_identity")
    # RFC 6750 section 3.1: a token that was narrowed below what its consumer may do is told so
    narrowed = required <= call.identity.consumer.permissions
    return Refusal(
        "permission_denied",
        reason="scope_lacks_permission" if narrowed else "consumer_lacks_permission",
        headers=INSUFFICIENT_SCOPE if narrowed else b"",
    )
