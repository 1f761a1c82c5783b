"""What can come of a use case besides its result; the admin API words each as problem+json, once.

``code`` and ``status`` are the public face; ``detail`` is for whoever asked and repeats no secret.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar


class CaseError(Exception):
    """Raised by use cases; nothing was changed."""

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]

    def __init__(self, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members: Mapping[str, object] = members
        """Further members of the problem document."""


class NotFound(CaseError):
    """There is no such thing, or none that this person may know of."""

    code, status, title = "not_found", 404, "Not found"


class Unauthenticated(CaseError):
    """Who asks is not proven."""

    code, status, title = "credential_invalid", 401, "Credential not accepted"


class Unidentified(Unauthenticated):
    """Who asks shows nothing at all."""

    code, title = "credential_missing", "Credential missing"


class Forbidden(CaseError):
    """Proven and visible, but not allowed."""

    code, status, title = "permission_denied", 403, "Permission denied"


class SecondFactorNeeded(CaseError):
    """Allowed after a fresh second factor."""

    code, status, title = "second_factor_required", 403, "Second factor required"


class Conflict(CaseError):
    """The state of things does not admit it."""

    code, status, title = "conflict", 409, "Conflict"


class FileOwned(Conflict):
    """The entry stands in the file that the gateway runs with."""

    code, title = "owned_by_file", "Owned by the configuration file"


class Referenced(Conflict):
    """Others refer to it."""

    code, title = "referenced", "Still referenced"


class StillUsed(Conflict):
    """Callers still use it."""

    code, title = "still_used", "Still used"


class AuthorRefused(Conflict):
    """Who filed a change may not make it any more."""

    code, title = "author_not_permitted", "Its author may not do this any more"


class ApprovalsMissing(Conflict):
    """Too few of those who approved a change may do so still."""

    code, title = "approvals_missing", "Approvals missing"


class Stale(CaseError):
    """Somebody else changed it since it was read; ``diff`` shows what."""

    code, status, title = "stale", 412, "Changed by someone else"


class PreconditionMissing(CaseError):
    """A write without ``If-Match`` or ``If-None-Match`` (RFC 6585 section 3)."""

    code, status, title = "precondition_required", 428, "Precondition required"


class Invalid(CaseError):
    """The configuration would have errors."""

    code, status, title = "validation_failed", 422, "Validation failed"

    def __init__(self, detail: str, diagnostics: Sequence[Mapping[str, object]] = ()) -> None:
        super().__init__(detail, diagnostics=list(diagnostics))


class BadKey(CaseError):
    """An ``Idempotency-Key`` that is none."""

    code, status, title = "idempotency_key_invalid", 400, "Idempotency key invalid"


class KeyReused(CaseError):
    """An ``Idempotency-Key`` came again with another request."""

    code, status, title = "idempotency_mismatch", 422, "Idempotency key used for another request"


class TooMany(CaseError):
    """More than is allowed; with ``Retry-After``."""

    code, status, title = "rate_limited", 429, "Too many requests"


class Unavailable(CaseError):
    """A part that must be there is not: database, audit tree or compiler. Nothing was changed."""

    code, status, title = "store_unavailable", 503, "Not available now"


class Held(Exception):
    """No failure: what was asked for waits as a change request, and nothing else was changed. ``shown``: what
    whoever asked is told.
    """

    def __init__(self, request: str, shown: Mapping[str, object]) -> None:
        super().__init__(f"waits as change request {request}")
        self.request = request
        self.shown: dict[str, object] = dict(shown)
