"""Operations on groups, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from faregate.client.asking import Asking
from faregate.client.operations.forms import EntryPage, EntryPatch, EntryRead, EntryWrite


class GroupsOperations(Asking):
    """Operations on groups."""

    def group_list(
        self, *, size: int | None = None, offset: str | None = None, team: str | None = None
    ) -> EntryPage:
        """List groups: `GET /groups`."""
        answer: EntryPage = self._ask("group_list", query={"size": size, "offset": offset, "team": team})
        return answer

    def group_get(self, name: str) -> EntryRead:
        """One group: `GET /groups/{name}`."""
        answer: EntryRead = self._ask("group_get", (name,))
        return answer

    def group_put(
        self, name: str, body: EntryWrite, *, if_match: str = "", if_none_match: str = "", reason: str = ""
    ) -> EntryRead:
        """Make or replace one group: `PUT /groups/{name}`."""
        answer: EntryRead = self._ask(
            "group_put",
            (name,),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def group_patch(
        self, name: str, body: EntryPatch, *, if_match: str = "", if_none_match: str = "", reason: str = ""
    ) -> EntryRead:
        """Change fields of one group: `PATCH /groups/{name}`."""
        answer: EntryRead = self._ask(
            "group_patch",
            (name,),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def group_delete(
        self,
        name: str,
        *,
        force: bool | None = None,
        if_match: str = "",
        if_none_match: str = "",
        reason: str = "",
    ) -> None:
        """Remove one group: `DELETE /groups/{name}`."""
        self._ask(
            "group_delete",
            (name,),
            query={"force": force},
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
        )
