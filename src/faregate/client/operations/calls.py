"""Operations on calls, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import Any, NotRequired, TypedDict

from faregate.client.asking import Asking


class CallExplained(TypedDict):
    """Why it ended so: in a line, then each reason as a sentence, who and what by name, and what to
    do.
    """

    call: dict[str, Any]
    others: int
    headline: str
    because: list[str]
    facts: dict[str, str]
    advice: list[str]


class CallPage(TypedDict):
    """Lines of the access log, the newest first. `early`: the page ended because enough of the log was
    looked at; `offset` goes on. `looked_bytes`: how much that was.
    """

    data: list[dict[str, Any]]
    early: bool
    looked_bytes: int
    offset: NotRequired[str | None]
    next: NotRequired[str | None]


class CallRead(TypedDict):
    """The newest call with the id. `others`: further ones that carried it, for callers choose it."""

    call: dict[str, Any]
    others: int


class CallsOperations(Asking):
    """Operations on calls."""

    def call_list(  # noqa: PLR0913 - as the operation
        self,
        *,
        size: int | None = None,
        offset: str | None = None,
        consumer: str | None = None,
        credential: str | None = None,
        api: str | None = None,
        version: str | None = None,
        route: str | None = None,
        outcome: str | None = None,
        refusal: str | None = None,
        request_id: str | None = None,
        status: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> CallPage:
        """Ended calls, the newest first: `GET /calls`."""
        answer: CallPage = self._ask(
            "call_list",
            query={
                "size": size,
                "offset": offset,
                "consumer": consumer,
                "credential": credential,
                "api": api,
                "version": version,
                "route": route,
                "outcome": outcome,
                "refusal": refusal,
                "request_id": request_id,
                "status": status,
                "since": since,
                "until": until,
            },
        )
        return answer

    def call_get(self, request_id: str) -> CallRead:
        """One ended call: `GET /calls/{request_id}`."""
        answer: CallRead = self._ask("call_get", (request_id,))
        return answer

    def call_explain(self, request_id: str) -> CallExplained:
        """Why a call ended as it did: `GET /calls/{request_id}/explanation`."""
        answer: CallExplained = self._ask("call_explain", (request_id,))
        return answer
