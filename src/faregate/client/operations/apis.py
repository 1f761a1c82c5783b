"""Operations on apis, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from faregate.client.asking import Asking
from faregate.client.operations.forms import EntryPage, EntryPatch, EntryRead, EntryWrite


class ApisOperations(Asking):
    """Operations on apis."""

    def api_list(
        self, *, size: int | None = None, offset: str | None = None, team: str | None = None
    ) -> EntryPage:
        """List apis: `GET /apis`."""
        answer: EntryPage = self._ask("api_list", query={"size": size, "offset": offset, "team": team})
        return answer

    def api_get(self, name: str) -> EntryRead:
        """One API: `GET /apis/{name}`."""
        answer: EntryRead = self._ask("api_get", (name,))
        return answer

    def api_put(
        self, name: str, body: EntryWrite, *, if_match: str = "", if_none_match: str = "", reason: str = ""
    ) -> EntryRead:
        """Make or replace one API: `PUT /apis/{name}`."""
        answer: EntryRead = self._ask(
            "api_put",
            (name,),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def api_patch(
        self, name: str, body: EntryPatch, *, if_match: str = "", if_none_match: str = "", reason: str = ""
    ) -> EntryRead:
        """Change fields of one API: `PATCH /apis/{name}`."""
        answer: EntryRead = self._ask(
            "api_patch",
            (name,),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def api_delete(
        self,
        name: str,
        *,
        force: bool | None = None,
        if_match: str = "",
        if_none_match: str = "",
        reason: str = "",
    ) -> None:
        """Remove one API: `DELETE /apis/{name}`."""
        self._ask(
            "api_delete",
            (name,),
            query={"force": force},
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
        )
