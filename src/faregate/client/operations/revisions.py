"""Operations on revisions, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import NotRequired, TypedDict

from faregate.client.asking import Asking
from faregate.client.operations.forms import Applied, DifferenceRead, PlanRead, Reason


class RevisionRead(TypedDict):
    """A numbered state of the configuration, and how it came to be."""

    number: int
    time: str
    """RFC 3339, UTC, milliseconds."""
    kind: str
    author: str
    reason: str
    changes: int
    digest: str
    """SHA-256 over the canonical JSON of all differences."""
    rolled_back_to: NotRequired[int | None]
    change_request: NotRequired[str | None]
    audit_seq: NotRequired[int | None]


class RevisionPage(TypedDict):
    """As the admin API has it."""

    data: list[RevisionRead]
    offset: NotRequired[str | None]
    next: NotRequired[str | None]


class RevisionShown(TypedDict):
    """As the admin API has it."""

    number: int
    time: str
    """RFC 3339, UTC, milliseconds."""
    kind: str
    author: str
    reason: str
    changes: int
    digest: str
    """SHA-256 over the canonical JSON of all differences."""
    rolled_back_to: NotRequired[int | None]
    change_request: NotRequired[str | None]
    audit_seq: NotRequired[int | None]
    differences: list[DifferenceRead]


class RevisionsOperations(Asking):
    """Operations on revisions."""

    def revision_list(self, *, size: int | None = None, offset: str | None = None) -> RevisionPage:
        """The newest revisions first: `GET /revisions`."""
        answer: RevisionPage = self._ask("revision_list", query={"size": size, "offset": offset})
        return answer

    def revision_get(self, number: int) -> RevisionShown:
        """One revision and what it changed: `GET /revisions/{number}`."""
        answer: RevisionShown = self._ask("revision_get", (number,))
        return answer

    def rollback_plan(self, number: int) -> PlanRead:
        """What a rollback to it would change: `POST /revisions/{number}/plan`."""
        answer: PlanRead = self._ask("rollback_plan", (number,))
        return answer

    def revision_rollback(
        self, number: int, body: Reason, *, base: int | None = None, force: bool | None = None
    ) -> Applied:
        """Make the configuration what it was: `POST /revisions/{number}/rollback`."""
        answer: Applied = self._ask(
            "revision_rollback", (number,), query={"base": base, "force": force}, body=body
        )
        return answer
