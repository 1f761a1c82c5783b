"""What can come of an operation besides its result: one exception, and its kinds."""

from collections.abc import Mapping, Sequence
from typing import Any


class ClientError(Exception):
    """The operation did not take effect, or it is not known whether it did; the text says which.

    ``code`` is stable, for programs; ``status``: what the manager answered, 0 for nothing; ``problem``: its
    problem document (RFC 9457), empty for none.
    """

    code = "client_error"

    def __init__(self, message: str, *, status: int = 0, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.problem = dict(problem or {})


class Unreachable(ClientError):  # noqa: N818 - named for what is the case
    """No manager answered. ``sent``: the request may have reached one, so that a write may have happened."""

    code = "unreachable"

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Refused(ClientError):  # noqa: N818 - likewise
    """The manager refused.

    ``diagnostics`` names everything that is wrong with what was sent, ``diff`` what somebody else changed
    meanwhile.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.code = str(problem.get("code", "")) or f"status_{status}"
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail", "")) or f"The manager answered {status}."
        self.request_id = str(problem.get("request_id", ""))
        super().__init__(self.detail, status=status, problem=problem)

    @property
    def diagnostics(self) -> Sequence[Mapping[str, Any]]:
        return _listed(self.problem.get("diagnostics"))

    @property
    def diff(self) -> Sequence[Mapping[str, Any]]:
        return _listed(self.problem.get("diff"))


class Waiting(ClientError):  # noqa: N818 - likewise
    """The change is guarded, or has its hour: it waits as a change request.

    ``id``: the request's; ``members``: all that was told of it, a new key or code among them, which works
    once it is applied.
    """

    code = "waiting"

    def __init__(self, members: Mapping[str, Any]) -> None:
        self.members = {
            name: ShownOnce(one) if one and name in {"secret", "code"} else one
            for name, one in members.items()
        }
        self.id = str(members.get("change_request", ""))
        self.approvals_needed = int(members.get("approvals_needed", 0))
        super().__init__(f"Nothing is changed yet: it waits as change request {self.id}.", status=202)

    @property
    def secrets(self) -> Mapping[str, str]:
        """What is shown here and nowhere else, by its name."""
        return {name: one for name, one in self.members.items() if isinstance(one, ShownOnce)}


class ShownOnce(str):
    """A secret that the manager shows once: text as any other, but in no ``repr`` and so in no trace."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def _listed(value: object) -> Sequence[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
