"""Operations on versions, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import Literal, NotRequired, TypedDict

from faregate.client.asking import Asking
from faregate.client.operations.forms import Applied, PartPage, PartRead, PartWrite


class StateWrite(TypedDict):
    """A version's next state. Dates and successor that are left out stay as they are."""

    state: Literal["draft", "active", "deprecated", "retired"]
    deprecated_at: NotRequired[str | None]
    """A day, from its beginning in UTC."""
    sunset_at: NotRequired[str | None]
    """A day, from its beginning in UTC."""
    successor: NotRequired[str | None]


class VersionsOperations(Asking):
    """Operations on versions."""

    def version_state(  # noqa: PLR0913 - as the operation
        self,
        name: str,
        version: str,
        body: StateWrite,
        *,
        force: bool | None = None,
        if_match: str = "",
        if_none_match: str = "",
        reason: str = "",
    ) -> Applied:
        """Move a version on; not while it is still called, unless forced: `PUT
        /apis/{name}/versions/{version}/state`.
        """
        answer: Applied = self._ask(
            "version_state",
            (name, version),
            query={"force": force},
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def version_list(self, name: str) -> PartPage:
        """List versions: `GET /apis/{name}/versions`."""
        answer: PartPage = self._ask("version_list", (name,))
        return answer

    def version_get(self, name: str, part: str) -> PartRead:
        """One version: `GET /apis/{name}/versions/{part}`."""
        answer: PartRead = self._ask("version_get", (name, part))
        return answer

    def version_put(  # noqa: PLR0913 - as the operation
        self,
        name: str,
        part: str,
        body: PartWrite,
        *,
        if_match: str = "",
        if_none_match: str = "",
        reason: str = "",
    ) -> PartRead:
        """Make or replace one version: `PUT /apis/{name}/versions/{part}`."""
        answer: PartRead = self._ask(
            "version_put",
            (name, part),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def version_delete(
        self, name: str, part: str, *, if_match: str = "", if_none_match: str = "", reason: str = ""
    ) -> None:
        """Remove one version: `DELETE /apis/{name}/versions/{part}`."""
        self._ask(
            "version_delete",
            (name, part),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
        )
