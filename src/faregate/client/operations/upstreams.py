"""Operations on upstreams, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from faregate.client.asking import Asking
from faregate.client.operations.forms import EntryPage, EntryPatch, EntryRead, EntryWrite


class UpstreamsOperations(Asking):
    """Operations on upstreams."""

    def upstream_list(
        self, *, size: int | None = None, offset: str | None = None, team: str | None = None
    ) -> EntryPage:
        """List upstreams: `GET /upstreams`."""
        answer: EntryPage = self._ask("upstream_list", query={"size": size, "offset": offset, "team": team})
        return answer

    def upstream_get(self, name: str) -> EntryRead:
        """One upstream: `GET /upstreams/{name}`."""
        answer: EntryRead = self._ask("upstream_get", (name,))
        return answer

    def upstream_put(
        self, name: str, body: EntryWrite, *, if_match: str = "", if_none_match: str = "", reason: str = ""
    ) -> EntryRead:
        """Make or replace one upstream: `PUT /upstreams/{name}`."""
        answer: EntryRead = self._ask(
            "upstream_put",
            (name,),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def upstream_patch(
        self, name: str, body: EntryPatch, *, if_match: str = "", if_none_match: str = "", reason: str = ""
    ) -> EntryRead:
        """Change fields of one upstream: `PATCH /upstreams/{name}`."""
        answer: EntryRead = self._ask(
            "upstream_patch",
            (name,),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def upstream_delete(
        self,
        name: str,
        *,
        force: bool | None = None,
        if_match: str = "",
        if_none_match: str = "",
        reason: str = "",
    ) -> None:
        """Remove one upstream: `DELETE /upstreams/{name}`."""
        self._ask(
            "upstream_delete",
            (name,),
            query={"force": force},
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
        )
