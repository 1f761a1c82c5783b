"""What runs and what became of calls: the audit tree, the ledger, the tools and the keys of the house."""
# mypy: disable-error-code="empty-body"
# the head of a method is its declaration, see declaring.py

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from faregate.client.declaring import Group, listing, operation
from faregate.client.forms import (
    AuditProven,
    AuditRecord,
    Call,
    CallExplained,
    Checked,
    Checkpoint,
    ContractDiff,
    Imported,
    Json,
    LedgerRecord,
    LedgerShown,
    Rotated,
    Secrets,
)


class AuditTree(Group):
    """The audit tree."""

    @operation("audit_get", "GET", "/audit/{seq}")
    def get(self, seq: int) -> AuditProven:
        """One record, with the proof that it stands in the signed tree."""

    @operation("audit_checkpoint", "GET", "/audit/checkpoint")
    def checkpoint(self) -> Checkpoint:
        """The last signed checkpoint."""

    @operation("audit_consistency", "GET", "/audit/consistency")
    def consistency(self, *, old: int, new: int | None = None) -> Json:
        """Proof that a later tree begins with an earlier one."""

    @listing("audit_list", "/audit")
    def list(
        self,
        *,
        type_: str | None = None,
        actor: str | None = None,
        object_: str | None = None,
        size: int | None = None,
    ) -> Iterator[AuditRecord]:
        """Records of the audit tree, the newest first."""


class Calls(Group):
    """Lines of the access log."""

    @operation("call_get", "GET", "/calls/{request_id}")
    def get(self, request_id: str) -> Call:
        """One ended call."""

    @operation("call_explain", "GET", "/calls/{request_id}/explanation")
    def explain(self, request_id: str) -> CallExplained:
        """Why a call ended as it did."""

    @listing("call_list", "/calls")
    def list(  # noqa: PLR0913 - as the operation
        self,
        *,
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
        size: int | None = None,
    ) -> Iterator[Json]:
        """Ended calls, the newest first."""


class Ledger(Group):
    """Records of idempotent calls."""

    @operation("record_get", "GET", "/ledger/records/{record}")
    def get(self, record: str, *, answer: bool = False) -> LedgerShown:
        """One record."""

    @operation("record_settle", "POST", "/ledger/records/{record}/settle")
    def settle(self, record: str, verdict: Literal["completed", "released"], reason: str) -> LedgerShown:
        """Settle a call of unknown outcome.

        ``completed``: the payment was made. ``released``: it was not and cannot be any more; a repeat is
        sent.
        """

    @listing("record_list", "/ledger/records")
    def list(
        self,
        *,
        state: Literal["claimed", "sent", "unknown", "completed", "all"] | None = None,
        consumer: str | None = None,
        size: int | None = None,
    ) -> Iterator[LedgerRecord]:
        """Records of idempotent calls."""


class Tools(Group):
    """What judges and makes configurations, and changes none."""

    @operation("tool_check", "POST", "/tools/check", reads=True)
    def check(self, *, text: str | None = None, tree: Mapping[str, Any] | None = None) -> Checked:
        """Everything that is wrong with a configuration.

        Exactly one of ``text``, YAML or JSON, and ``tree``.
        """

    @operation("tool_openapi_import", "POST", "/tools/openapi/import", reads=True)
    def openapi_import(
        self, document: str, *, name: str = "", upstream: str = "", file: str = "openapi.yaml"
    ) -> Imported:
        """The configuration of an API, made from its OpenAPI document.

        ``file``: the document's name in the configuration.
        """

    @operation("tool_openapi_diff", "POST", "/tools/openapi/diff", reads=True)
    def openapi_diff(self, old: str, new: str) -> ContractDiff:
        """What changed between two OpenAPI documents, and which of it breaks callers."""

    @operation("tool_try", "POST", "/tools/try", reads=True)
    def try_call(
        self,
        method: str,
        path: str,
        *,
        consumer: str = "",
        ip: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """What the gateway would decide of a call; nothing is sent.

        ``consumer`` empty: nobody known.
        """


class HouseSecrets(Group):
    """The keys that seal what lies in the manager's database, and the peppers of API keys."""

    @operation("secrets_get", "GET", "/secrets")
    def get(self) -> Secrets:
        """Which keys there are, by name."""

    @operation("secrets_rotate", "POST", "/secrets/rotate")
    def rotate(self, what: Literal["data_key", "master_key", "pepper"], *, master_key: str = "") -> Rotated:
        """Put another key in the place of one."""
