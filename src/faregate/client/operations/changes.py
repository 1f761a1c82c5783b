"""Operations on changes, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import Literal, NotRequired, TypedDict

from faregate.client.asking import Asking
from faregate.client.operations.forms import DifferenceRead


class ChangeRead(TypedDict):
    """A change request."""

    id: str
    author: str
    reason: str
    kind: str
    subject: Literal["config", "people"]
    risk: Literal["plain", "guarded", "grave"]
    state: Literal[
        "draft", "proposed", "approved", "applied", "rejected", "expired", "withdrawn", "rolled_back"
    ]
    base: int
    """The newest revision when it was filed."""
    hash: str
    """What an approval binds."""
    approvals_needed: int
    created: str
    expires: str
    activate_at: NotRequired[str | None]
    revision: NotRequired[int | None]
    failure: NotRequired[str]
    replaced_by: NotRequired[str | None]


class ChangePage(TypedDict):
    """As the admin API has it."""

    data: list[ChangeRead]
    offset: NotRequired[str | None]
    next: NotRequired[str | None]


class DecisionRead(TypedDict):
    """As the admin API has it."""

    person: str
    verdict: Literal["approved", "rejected"]
    hash: str
    reason: str
    time: str


class ChangeShown(TypedDict):
    """As the admin API has it."""

    id: str
    author: str
    reason: str
    kind: str
    subject: Literal["config", "people"]
    risk: Literal["plain", "guarded", "grave"]
    state: Literal[
        "draft", "proposed", "approved", "applied", "rejected", "expired", "withdrawn", "rolled_back"
    ]
    base: int
    """The newest revision when it was filed."""
    hash: str
    """What an approval binds."""
    approvals_needed: int
    created: str
    expires: str
    activate_at: NotRequired[str | None]
    revision: NotRequired[int | None]
    failure: NotRequired[str]
    replaced_by: NotRequired[str | None]
    differences: list[DifferenceRead]
    decisions: list[DecisionRead]


class DecisionWrite(TypedDict):
    """`hash`: of what was read; another one is refused."""

    verdict: Literal["approved", "rejected"]
    hash: str
    reason: NotRequired[str]


class ChangesOperations(Asking):
    """Operations on changes."""

    def change_list(
        self,
        *,
        size: int | None = None,
        offset: str | None = None,
        state: Literal[
            "draft", "proposed", "approved", "applied", "rejected", "expired", "withdrawn", "rolled_back"
        ]
        | None = None,
    ) -> ChangePage:
        """Change requests, the newest first: `GET /changes`."""
        answer: ChangePage = self._ask("change_list", query={"size": size, "offset": offset, "state": state})
        return answer

    def change_get(self, change: str) -> ChangeShown:
        """One change request: what it would do, and what was said of it: `GET /changes/{change}`."""
        answer: ChangeShown = self._ask("change_get", (change,))
        return answer

    def change_propose(self, change: str) -> ChangeShown:
        """Make a token's draft one's own, for another to approve: `POST /changes/{change}/propose`."""
        answer: ChangeShown = self._ask("change_propose", (change,))
        return answer

    def change_decide(self, change: str, body: DecisionWrite) -> ChangeShown:
        """Approve or reject; needs a fresh second factor: `POST /changes/{change}/decisions`."""
        answer: ChangeShown = self._ask("change_decide", (change,), body=body)
        return answer

    def change_withdraw(self, change: str) -> ChangeShown:
        """Take a change request back: `POST /changes/{change}/withdraw`."""
        answer: ChangeShown = self._ask("change_withdraw", (change,))
        return answer
