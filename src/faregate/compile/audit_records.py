"""What is declared of the audit tree, as the snapshot's records; and what a route has recorded in it."""

from faregate.compile.key_material import resolve
from faregate.model.apis import Route
from faregate.model.audit import Audit
from faregate.model.tree import Tree
from faregate.snapshot.audit import AuditTree


def audit_record(tree: Tree, declared: Audit) -> AuditTree:
    publish = declared.publish
    return AuditTree(
        origin=declared.origin or "",
        publish="" if publish is None else resolve(tree, ("gateway", "audit", "publish"), publish),
        every=declared.every,
        records=declared.records,
    )


def recorded(route: Route) -> str:
    """``on``, ``off`` or ``required``; where nothing is said, calls that may move money are recorded."""
    return route.audit or ("off" if route.idempotency == "off" else "on")
