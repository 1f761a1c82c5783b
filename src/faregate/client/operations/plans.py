"""Operations on plans, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from faregate.client.asking import Asking
from faregate.client.operations.forms import EntryPage, EntryPatch, EntryRead, EntryWrite


class PlansOperations(Asking):
    """Operations on plans."""

    def plan_list(
        self, *, size: int | None = None, offset: str | None = None, team: str | None = None
    ) -> EntryPage:
        """List plans: `GET /plans`."""
        answer: EntryPage = self._ask("plan_list", query={"size": size, "offset": offset, "team": team})
        return answer

    def plan_get(self, name: str) -> EntryRead:
        """One plan: `GET /plans/{name}`."""
        answer: EntryRead = self._ask("plan_get", (name,))
        return answer

    def plan_put(
        self, name: str, body: EntryWrite, *, if_match: str = "", if_none_match: str = "", reason: str = ""
    ) -> EntryRead:
        """Make or replace one plan: `PUT /plans/{name}`."""
        answer: EntryRead = self._ask(
            "plan_put",
            (name,),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def plan_patch(
        self, name: str, body: EntryPatch, *, if_match: str = "", if_none_match: str = "", reason: str = ""
    ) -> EntryRead:
        """Change fields of one plan: `PATCH /plans/{name}`."""
        answer: EntryRead = self._ask(
            "plan_patch",
            (name,),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def plan_delete(
        self,
        name: str,
        *,
        force: bool | None = None,
        if_match: str = "",
        if_none_match: str = "",
        reason: str = "",
    ) -> None:
        """Remove one plan: `DELETE /plans/{name}`."""
        self._ask(
            "plan_delete",
            (name,),
            query={"force": force},
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
        )
