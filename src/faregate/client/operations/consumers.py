"""Operations on consumers, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from faregate.client.asking import Asking
from faregate.client.operations.forms import EntryPage, EntryPatch, EntryRead, EntryWrite


class ConsumersOperations(Asking):
    """Operations on consumers."""

    def consumer_list(
        self, *, size: int | None = None, offset: str | None = None, team: str | None = None
    ) -> EntryPage:
        """List consumers: `GET /consumers`."""
        answer: EntryPage = self._ask("consumer_list", query={"size": size, "offset": offset, "team": team})
        return answer

    def consumer_get(self, name: str) -> EntryRead:
        """One consumer: `GET /consumers/{name}`."""
        answer: EntryRead = self._ask("consumer_get", (name,))
        return answer

    def consumer_put(
        self, name: str, body: EntryWrite, *, if_match: str = "", if_none_match: str = "", reason: str = ""
    ) -> EntryRead:
        """Make or replace one consumer: `PUT /consumers/{name}`."""
        answer: EntryRead = self._ask(
            "consumer_put",
            (name,),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def consumer_patch(
        self, name: str, body: EntryPatch, *, if_match: str = "", if_none_match: str = "", reason: str = ""
    ) -> EntryRead:
        """Change fields of one consumer: `PATCH /consumers/{name}`."""
        answer: EntryRead = self._ask(
            "consumer_patch",
            (name,),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def consumer_delete(
        self,
        name: str,
        *,
        force: bool | None = None,
        if_match: str = "",
        if_none_match: str = "",
        reason: str = "",
    ) -> None:
        """Remove one consumer: `DELETE /consumers/{name}`."""
        self._ask(
            "consumer_delete",
            (name,),
            query={"force": force},
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
        )
