"""Operations on standing, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import Any, Literal, TypedDict

from faregate.client.asking import Asking


class CallerRead(TypedDict):
    """Calls with one credential to one version. `share`: of all calls to that version, 0 to 1."""

    consumer: str
    credential: str
    api: str
    version: str
    calls: int
    errors: int
    share: float
    last_seen: str


class GatewayRead(TypedDict):
    """One machine. `current`: it runs the newest revision."""

    id: str
    host: str
    revision: int
    current: bool
    acknowledged: str
    seen: str
    workers: int
    failure: str


class StatusRead(TypedDict):
    """`revision`: the newest; `pending`: gateways that do not run it yet."""

    revision: int
    pending: int
    gateways: list[GatewayRead]


class UsageRead(TypedDict):
    """As the admin API has it."""

    data: list[CallerRead]


class StandingOperations(Asking):
    """Operations on standing."""

    def status_get(self) -> StatusRead:
        """Gateways, and what they run: `GET /status`."""
        answer: StatusRead = self._ask("status_get")
        return answer

    def usage_list(
        self,
        *,
        api: str | None = None,
        version: str | None = None,
        consumer: str | None = None,
        credential: str | None = None,
        hours: int | None = None,
    ) -> UsageRead:
        """Who calls what: consumer, credential, share, last seen: `GET /usage`."""
        answer: UsageRead = self._ask(
            "usage_list",
            query={
                "api": api,
                "version": version,
                "consumer": consumer,
                "credential": credential,
                "hours": hours,
            },
        )
        return answer

    def schema_get(
        self, section: Literal["issuers", "upstreams", "plans", "groups", "consumers", "apis"]
    ) -> dict[str, Any]:
        """The JSON Schema of an entry's `spec`: `GET /schemas/{section}`."""
        answer: dict[str, Any] = self._ask("schema_get", (section,))
        return answer
