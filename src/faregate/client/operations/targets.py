"""Operations on targets, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from faregate.client.asking import Asking
from faregate.client.operations.forms import PartPage, PartRead, PartWrite


class TargetsOperations(Asking):
    """Operations on targets."""

    def target_list(self, name: str) -> PartPage:
        """List targets: `GET /upstreams/{name}/targets`."""
        answer: PartPage = self._ask("target_list", (name,))
        return answer

    def target_get(self, name: str, part: str) -> PartRead:
        """One target: `GET /upstreams/{name}/targets/{part}`."""
        answer: PartRead = self._ask("target_get", (name, part))
        return answer

    def target_put(  # noqa: PLR0913 - as the operation
        self,
        name: str,
        part: str,
        body: PartWrite,
        *,
        if_match: str = "",
        if_none_match: str = "",
        reason: str = "",
    ) -> PartRead:
        """Make or replace one target: `PUT /upstreams/{name}/targets/{part}`."""
        answer: PartRead = self._ask(
            "target_put",
            (name, part),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def target_delete(
        self, name: str, part: str, *, if_match: str = "", if_none_match: str = "", reason: str = ""
    ) -> None:
        """Remove one target: `DELETE /upstreams/{name}/targets/{part}`."""
        self._ask(
            "target_delete",
            (name, part),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
        )
