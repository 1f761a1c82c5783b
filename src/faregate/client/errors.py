"""What can come of an operation besides its result."""

from collections.abc import Mapping, Sequence
from typing import Any


class ClientError(Exception):
    """The operation did not take effect, or it is not known whether it did; the text says which."""


class Unreachable(ClientError):  # noqa: N818 - named for what is the case
    """No manager answered. ``sent``: the request may have reached one, so that a write may have happened."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Problem(ClientError):  # noqa: N818 - likewise
    """The manager refused: a problem document (RFC 9457).

    ``code`` is stable, ``detail`` for people; ``diagnostics`` names everything that is wrong with what was
    sent, ``diff`` what somebody else changed meanwhile. ``members``: the whole document.
    """

    def __init__(self, status: int, members: Mapping[str, Any]) -> None:
        self.status = status
        self.members = dict(members)
        self.code = str(members.get("code", "")) or f"status_{status}"
        self.title = str(members.get("title", ""))
        self.detail = str(members.get("detail", "")) or f"The manager answered {status}."
        self.request_id = str(members.get("request_id", ""))
        super().__init__(self.detail)

    @property
    def diagnostics(self) -> Sequence[Mapping[str, Any]]:
        return _listed(self.members.get("diagnostics"))

    @property
    def diff(self) -> Sequence[Mapping[str, Any]]:
        return _listed(self.members.get("diff"))


class Waiting(ClientError):  # noqa: N818 - likewise
    """The change is guarded, or has its hour: it waits as a change request.

    ``id``: the request's; ``members``: all that was told of it, a new key or code among them, which works
    once it is applied.
    """

    def __init__(self, members: Mapping[str, Any]) -> None:
        self.members = dict(members)
        self.id = str(members.get("change_request", ""))
        self.approvals_needed = int(members.get("approvals_needed", 0))
        super().__init__(f"Nothing is changed yet: it waits as change request {self.id}.")

    @property
    def secrets(self) -> Mapping[str, str]:
        """What is shown here and nowhere else, by its name."""
        return {name: str(self.members[name]) for name in ("secret", "code") if self.members.get(name)}


def _listed(value: object) -> Sequence[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
