"""Operations on ledger, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import Any, Literal, NotRequired, TypedDict

from faregate.client.asking import Asking


class LedgerRecord(TypedDict):
    """Times are seconds since the epoch; what does not apply is null."""

    id: str
    state: str
    since: float
    age_s: float
    expires: float | None
    consumer: str
    api: str
    version: str
    route: str
    method: str
    path: str
    request_id: str
    called: float | None
    resolves: bool
    tries: int
    by: str | None
    note: str | None


class LedgerPage(TypedDict):
    """As the admin API has it."""

    data: list[LedgerRecord]
    offset: NotRequired[str | None]
    next: NotRequired[str | None]


class LedgerShown(TypedDict):
    """`answer`: what is stored of the answer, masked; null while the call is not completed."""

    id: str
    state: str
    since: float
    age_s: float
    expires: float | None
    consumer: str
    api: str
    version: str
    route: str
    method: str
    path: str
    request_id: str
    called: float | None
    resolves: bool
    tries: int
    by: str | None
    note: str | None
    answer: dict[str, Any] | None


class VerdictWrite(TypedDict):
    """`completed`: the payment was made. `released`: it was not and cannot be any more; a repeat is
    sent.
    """

    verdict: Literal["completed", "released"]
    reason: str
    """Why; kept with it."""


class LedgerOperations(Asking):
    """Operations on ledger."""

    def record_list(
        self,
        *,
        state: Literal["claimed", "sent", "unknown", "completed", "all"] | None = None,
        consumer: str | None = None,
        size: int | None = None,
        offset: str | None = None,
    ) -> LedgerPage:
        """Records of idempotent calls: `GET /ledger/records`."""
        answer: LedgerPage = self._ask(
            "record_list", query={"state": state, "consumer": consumer, "size": size, "offset": offset}
        )
        return answer

    def record_get(self, record: str, *, answer_: bool | None = None) -> LedgerShown:
        """One record: `GET /ledger/records/{record}`."""
        answer: LedgerShown = self._ask("record_get", (record,), query={"answer": answer_})
        return answer

    def record_settle(self, record: str, body: VerdictWrite) -> LedgerShown:
        """Settle a call of unknown outcome: `POST /ledger/records/{record}/settle`."""
        answer: LedgerShown = self._ask("record_settle", (record,), body=body)
        return answer
