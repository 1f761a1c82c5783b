"""Every metric by name: kind, labels, help, buckets, and how the readings of several workers become one.

The one list that workers count by and the manager renders from. Labels take their values from configuration
and closed tables only, never from a request (conventions.md section 7).
"""

from enum import StrEnum
from typing import Final, NamedTuple

SERIES_MAX: Final = 4096
"""Label sets of one metric; beyond it they are counted under ``other``."""

DURATION_BUCKETS_US: Final = (
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
)  # fmt: skip
GATEWAY_BUCKETS_US: Final = (
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 1_000_000,
)  # fmt: skip


class Kind(StrEnum):
    """Prometheus metric types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Across(StrEnum):
    """What is shown of a reading that every worker sends: the sum, the mean, the largest (of what they all
    read from one place), or each under a ``worker`` label.
    """

    SUM = "sum"
    MEAN = "mean"
    LARGEST = "largest"
    EACH = "each"


class Family(NamedTuple):
    """One metric. ``across`` matters for readings (absolute values); counts that workers send as deltas
    always add up.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    buckets_us: tuple[int, ...] = ()
    across: Across = Across.SUM


_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_ROUTE: Final = ("api", "version", "route")

_ROWS: Final = (
    Family("faregate_calls_total", _C, (*_ROUTE, "status_class", "outcome"), "Calls ended."),
    Family("faregate_call_duration_seconds", _H, _ROUTE, "From a call's first byte to its answer's last.",
           DURATION_BUCKETS_US),
    Family("faregate_upstream_duration_seconds", _H, _ROUTE, "From the first byte sent to the last received.",
           DURATION_BUCKETS_US),
    Family("faregate_gateway_duration_seconds", _H, _ROUTE, "What the gateway and the caller took of a call.",
           GATEWAY_BUCKETS_US),
    Family("faregate_bytes_total", _C, ("direction",), "Body bytes, by request and response."),
    Family("faregate_refusals_total", _C, ("code",), "Calls that the gateway answered itself."),
    Family("faregate_limit_refusals_total", _C, ("parameter",), "Calls refused, by the limit concerned."),
    Family("faregate_idempotency_total", _C, (*_ROUTE, "result"), "Calls with an idempotency key."),
    Family("faregate_ledger_verdicts_total", _C, ("upstream", "verdict"), "Resolver's queries, by verdict."),
    Family("faregate_target_calls_total", _C, ("upstream", "target"), "Calls by the target last tried."),
    Family("faregate_log_lines_total", _C, (), "Lines handed to the access log."),
    Family("faregate_log_lines_lost_total", _C, (), "Access log lines that were not written."),
    Family("faregate_audit_records_total", _C, (), "Calls whose records stand in the audit tree."),
    Family("faregate_audit_lost_total", _C, (), "Calls to be recorded whose records were lost."),
    Family("faregate_usage_folded_total", _C, (), "Calls that usage does not tell apart by credential."),
    Family("faregate_series_folded_total", _C, ("metric",), "Samples beyond the series ceiling."),
    Family("faregate_calls_in_flight", _G, (), "Calls in progress."),
    Family("faregate_tunnels", _G, (), "WebSockets open."),
    Family("faregate_connections", _G, ("side",), "Open connections, by client and upstream."),
    Family("faregate_connections_refused_total", _C, ("cap",), "Connections closed at once, by the cap.",
           across=Across.EACH),
    Family("faregate_http2_faults_total", _C, (), "Connections ended for breaking HTTP/2 or its bounds.",
           across=Across.EACH),
    Family("faregate_answers_misfit_total", _C, (), "Answers that are not as their OpenAPI document says.",
           across=Across.EACH),
    Family("faregate_calls_shed_total", _C, ("class", "reason"), "Calls refused for overload, by class.",
           across=Across.EACH),
    Family("faregate_calls_in_flight_limit", _G, (), "Calls a worker begins at once.", across=Across.EACH),
    Family("faregate_event_loop_lag_seconds", _G, (), "Lateness of the event loop.", across=Across.EACH),
    Family("faregate_reload_pause_seconds", _G, ("clock",),
           "Longest that the last reload kept the event loop, by the clock and in processor time.",
           across=Across.EACH),
    Family("faregate_memory_bound_bytes", _G, (), "Memory that the worker keeps below.", across=Across.EACH),
    Family("faregate_limit_overflows_total", _C, (), "Uses of a shared counter slot.", across=Across.EACH),
    Family("faregate_limit_lock_timeouts_total", _C, (), "Calls refused for a lock.", across=Across.EACH),
    Family("faregate_target_up", _G, ("upstream", "target"), "Share of workers that would use it.",
           across=Across.MEAN),
    Family("faregate_target_concurrency_limit", _G, ("upstream", "target"), "Calls it may have at once."),
    Family("faregate_target_in_flight", _G, ("upstream", "target"), "Calls in progress at the target."),
    Family("faregate_target_ejections_total", _C, ("upstream", "target", "reason"), "Times taken out."),
    Family("faregate_health_shared", _G, (), "1 while the worker shares health.", across=Across.EACH),
    Family("faregate_target_out", _G, ("upstream", "target"), "1 out by failures, 0.5 on trial; the mean.",
           across=Across.MEAN),
    Family("faregate_target_dial_failures_total", _C, ("upstream", "target"), "Connections that failed.",
           across=Across.EACH),
    Family("faregate_target_name_failures_total", _C, ("upstream", "target"), "Names without a good answer.",
           across=Across.EACH),
    Family("faregate_breaker_openings_total", _C, ("upstream",), "Targets opened by their breakers.",
           across=Across.EACH),
    Family("faregate_upstream_retries_total", _C, ("upstream",), "Calls tried at another target.",
           across=Across.EACH),
    Family("faregate_upstream_retries_denied_total", _C, ("upstream",), "Retries beyond the budget.",
           across=Across.EACH),
    Family("faregate_upstream_unverified", _G, ("upstream",), "1 if its certificates are not verified.",
           across=Across.MEAN),
    Family("faregate_certificate_expires_timestamp_seconds", _G, ("file",),
           "When a certificate, an authority or a revocation list ends (Unix time).", across=Across.MEAN),
    Family("faregate_certificate_files_refused", _G, ("listener",),
           "1 while the certificate files on disk are not what is served.", across=Across.EACH),
    Family("faregate_tls_handshakes_failed_total", _C, ("cause",), "Callers' handshakes that failed.",
           across=Across.EACH),
    Family("faregate_ledger_up", _G, (), "Share of workers that reach the ledger.", across=Across.MEAN),
    Family("faregate_ledger_records", _G, (), "Records that the ledger keeps.", across=Across.LARGEST),
    Family("faregate_ledger_in_flight", _G, (), "Records of calls in progress.", across=Across.LARGEST),
    Family("faregate_ledger_unknown", _G, (), "Records of unknown outcome.", across=Across.LARGEST),
    Family("faregate_ledger_oldest_unknown_seconds", _G, (), "Age of the oldest record of unknown outcome.",
           across=Across.LARGEST),
    Family("faregate_ledger_bytes", _G, (), "What the ledger takes of the disk.", across=Across.LARGEST),
    Family("faregate_ledger_bytes_max", _G, (), "What it may take of the disk.", across=Across.LARGEST),
    Family("faregate_credentials_expiring", _G, ("days",), "Credentials that end within so many days.",
           across=Across.LARGEST),
    Family("faregate_config_revision", _G, (), "Revision that the worker runs.", across=Across.EACH),
    Family("faregate_config_stale", _G, (), "1 while the configuration on disk is not what runs."),
    Family("faregate_worker_ready", _G, (), "1 while the worker takes calls.", across=Across.EACH),
    Family("faregate_worker_cpu_seconds_total", _C, (), "Processor time of the worker.", across=Across.EACH),
    Family("faregate_worker_resident_bytes", _G, (), "Resident memory of the worker.", across=Across.EACH),
    Family("faregate_workers", _G, ("state",), "Workers, by expected and connected."),
    Family("faregate_workers_silent", _G, (), "Workers that did not answer this scrape."),
    Family("faregate_build_info", _G, ("version", "python"), "Always 1."),
)  # fmt: skip

FAMILIES: Final = {family.name: family for family in _ROWS}
