"""What a worker reports to the audit tree: ended calls with their log lines, and, where a route says
``audit: required``, each call before it is sent.

The step stands behind all others, so that only what would be sent waits for the disk. A call that cannot be
recorded is not sent: 503 ``store_unavailable``.
"""

from pathlib import Path

from faregate.kernel.problems import Refusal
from faregate.records.audit.client import Audit, AuditError, LeafError
from faregate.records.recorder import Recorder
from faregate.records.writer import LogWriter
from faregate.snapshot.call import Call

_PATH_LENGTH_MAX = 512


class Auditing:
    """How this process reports; chosen once, before any call: it has one data folder."""

    audit: Audit | None = None


def recorder_in(data: Path) -> Recorder:
    """What takes the ended calls of this process. Raises OSError where ``data`` has no ``digest.key``."""
    audit = Auditing.audit = Audit(data)
    return Recorder(
        LogWriter(data / "access.jsonl"), digest_key=(data / "digest.key").read_bytes(), audit=audit
    )


async def recorded_first(call: Call) -> Refusal | None:
    """The step of ``audit: required``: passes when the record of the call's beginning is durable."""
    audit = Auditing.audit
    assert audit is not None
    identity = call.identity
    actor = "caller" if identity is None else f"consumer:{identity.consumer.name}"
    try:
        await audit.append(
            "call.begun", actor, f"call:{call.request_id.decode('ascii', 'replace')}", _detail(call, audit)
        )
    except AuditError as error:
        return Refusal("store_unavailable", reason=error.reason, retry_after=1)
    except LeafError:
        return Refusal("store_unavailable", reason="audit_refused")
    return None


def _detail(call: Call, audit: Audit) -> dict[str, object]:
    detail: dict[str, object] = {
        "request_id": call.request_id.decode("ascii", "replace"),
        "trace_id": call.trace_id.decode("ascii", "replace"),
        "client_ip": audit.personal(call.client_ip),
        "method": call.method.decode("ascii", "replace"),
        "path": call.path[:_PATH_LENGTH_MAX],
        "revision": call.revision,
    }
    if call.identity is not None:
        detail["consumer"] = call.identity.consumer.name
        detail["credential"] = call.identity.credential
    if call.route is not None:
        api, version, label = call.route.metric_labels
        detail |= {"api": api, "version": version, "route": label}
    return detail
