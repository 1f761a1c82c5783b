"""Operations on issuers, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from faregate.client.asking import Asking
from faregate.client.operations.forms import EntryPage, EntryPatch, EntryRead, EntryWrite


class IssuersOperations(Asking):
    """Operations on issuers."""

    def issuer_list(
        self, *, size: int | None = None, offset: str | None = None, team: str | None = None
    ) -> EntryPage:
        """List issuers: `GET /issuers`."""
        answer: EntryPage = self._ask("issuer_list", query={"size": size, "offset": offset, "team": team})
        return answer

    def issuer_get(self, name: str) -> EntryRead:
        """One issuer: `GET /issuers/{name}`."""
        answer: EntryRead = self._ask("issuer_get", (name,))
        return answer

    def issuer_put(
        self, name: str, body: EntryWrite, *, if_match: str = "", if_none_match: str = "", reason: str = ""
    ) -> EntryRead:
        """Make or replace one issuer: `PUT /issuers/{name}`."""
        answer: EntryRead = self._ask(
            "issuer_put",
            (name,),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def issuer_patch(
        self, name: str, body: EntryPatch, *, if_match: str = "", if_none_match: str = "", reason: str = ""
    ) -> EntryRead:
        """Change fields of one issuer: `PATCH /issuers/{name}`."""
        answer: EntryRead = self._ask(
            "issuer_patch",
            (name,),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def issuer_delete(
        self,
        name: str,
        *,
        force: bool | None = None,
        if_match: str = "",
        if_none_match: str = "",
        reason: str = "",
    ) -> None:
        """Remove one issuer: `DELETE /issuers/{name}`."""
        self._ask(
            "issuer_delete",
            (name,),
            query={"force": force},
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
        )
