"""Operations on routes, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from faregate.client.asking import Asking
from faregate.client.operations.forms import PartPage, PartRead, PartWrite


class RoutesOperations(Asking):
    """Operations on routes."""

    def route_list(self, name: str) -> PartPage:
        """List routes: `GET /apis/{name}/routes`."""
        answer: PartPage = self._ask("route_list", (name,))
        return answer

    def route_get(self, name: str, part: str) -> PartRead:
        """One route: `GET /apis/{name}/routes/{part}`."""
        answer: PartRead = self._ask("route_get", (name, part))
        return answer

    def route_put(  # noqa: PLR0913 - as the operation
        self,
        name: str,
        part: str,
        body: PartWrite,
        *,
        if_match: str = "",
        if_none_match: str = "",
        reason: str = "",
    ) -> PartRead:
        """Make or replace one route: `PUT /apis/{name}/routes/{part}`."""
        answer: PartRead = self._ask(
            "route_put",
            (name, part),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def route_delete(
        self, name: str, part: str, *, if_match: str = "", if_none_match: str = "", reason: str = ""
    ) -> None:
        """Remove one route: `DELETE /apis/{name}/routes/{part}`."""
        self._ask(
            "route_delete",
            (name, part),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
        )

    def version_route_list(self, name: str, version: str) -> PartPage:
        """List routes of a version: `GET /apis/{name}/versions/{version}/routes`."""
        answer: PartPage = self._ask("version_route_list", (name, version))
        return answer

    def version_route_get(self, name: str, version: str, part: str) -> PartRead:
        """One route of a version: `GET /apis/{name}/versions/{version}/routes/{part}`."""
        answer: PartRead = self._ask("version_route_get", (name, version, part))
        return answer

    def version_route_put(  # noqa: PLR0913 - as the operation
        self,
        name: str,
        version: str,
        part: str,
        body: PartWrite,
        *,
        if_match: str = "",
        if_none_match: str = "",
        reason: str = "",
    ) -> PartRead:
        """Make or replace one route of a version: `PUT /apis/{name}/versions/{version}/routes/{part}`."""
        answer: PartRead = self._ask(
            "version_route_put",
            (name, version, part),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
            body=body,
        )
        return answer

    def version_route_delete(  # noqa: PLR0913 - as the operation
        self,
        name: str,
        version: str,
        part: str,
        *,
        if_match: str = "",
        if_none_match: str = "",
        reason: str = "",
    ) -> None:
        """Remove one route of a version: `DELETE /apis/{name}/versions/{version}/routes/{part}`."""
        self._ask(
            "version_route_delete",
            (name, version, part),
            headers={"if-match": if_match, "if-none-match": if_none_match, "x-faregate-reason": reason},
        )
