"""The audit tree as use cases see it (``cases.ports.Audit``)."""

from collections.abc import Mapping
from typing import Final

from faregate.manager.cases.domain import Json
from faregate.manager.cases.errors import Unavailable
from faregate.manager.cases.leaves import fitted_detail
from faregate.records.audit.client import Audit, AuditError, LeafError

WITHIN_S: Final = 8.0
"""A writer that has just been asked for takes a second or two to begin on a busy machine."""


class Auditing:
    """Adapts ``audit``: what cannot be recorded must not happen."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    async def append(self, kind: str, actor: str, object_: str, detail: Mapping[str, Json]) -> int:
        told = fitted_detail(detail)
        try:
            appended = await self._audit.append(kind, actor, object_, told, within_s=WITHIN_S)
        except (AuditError, LeafError) as error:
            raise Unavailable(f"Nothing is changed that cannot be audited: {error}.") from error
        return appended.seq
