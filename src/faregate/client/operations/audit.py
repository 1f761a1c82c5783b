"""Operations on audit, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import Any, NotRequired, TypedDict

from faregate.client.asking import Asking


class AuditRecord(TypedDict):
    """A record of the tree. `leaf_hash`: SHA-256 of its leaf, in hex."""

    seq: int
    time: str
    type: str
    actor: str
    object: str
    detail: dict[str, Any]
    prev: str
    leaf_hash: str


class AuditPage(TypedDict):
    """The newest first. A page may be short, even empty, while there are more: `offset` goes on."""

    data: list[AuditRecord]
    offset: NotRequired[str | None]
    next: NotRequired[str | None]


class AuditProven(TypedDict):
    """`proof`: what `faregate audit verify --proof` checks; null while the record is in no signed
    tree.
    """

    record: AuditRecord
    proof: dict[str, Any] | None


class CheckpointRead(TypedDict):
    """`note`: the checkpoint as it was signed (C2SP signed note); `key`: the verifier key."""

    origin: str
    size: int
    root: str
    """Hex."""
    note: str
    key: str


class AuditOperations(Asking):
    """Operations on audit."""

    def audit_list(
        self,
        *,
        size: int | None = None,
        offset: str | None = None,
        type_: str | None = None,
        actor: str | None = None,
        object_: str | None = None,
    ) -> AuditPage:
        """Records of the audit tree, the newest first: `GET /audit`."""
        answer: AuditPage = self._ask(
            "audit_list",
            query={"size": size, "offset": offset, "type": type_, "actor": actor, "object": object_},
        )
        return answer

    def audit_checkpoint(self) -> CheckpointRead:
        """The last signed checkpoint: `GET /audit/checkpoint`."""
        answer: CheckpointRead = self._ask("audit_checkpoint")
        return answer

    def audit_consistency(self, *, old: int, new: int | None = None) -> dict[str, Any]:
        """Proof that a later tree begins with an earlier one: `GET /audit/consistency`."""
        answer: dict[str, Any] = self._ask("audit_consistency", query={"old": old, "new": new})
        return answer

    def audit_get(self, seq: int) -> AuditProven:
        """One record, with the proof that it stands in the signed tree: `GET /audit/{seq}`."""
        answer: AuditProven = self._ask("audit_get", (seq,))
        return answer
