"""From what was written to what runs: every check that needs more than one place, then the snapshot.

The checks run over the tree as written, so they report even when some entry has an error of its own; the
snapshot is made only when nothing at all is wrong. All diagnostics come back, those of loading included.
"""

import time
from collections.abc import Callable

import msgspec

from faregate.compile import translate
from faregate.compile.audit_records import audit_record
from faregate.compile.available import check_available
from faregate.compile.certificates import Credentials, check_certificates, listener_tls
from faregate.compile.completeness import check_completeness
from faregate.compile.conflicts import check_conflicts
from faregate.compile.grants import check_grants
from faregate.compile.idempotency import check_idempotency, check_public
from faregate.compile.key_material import check_issuers, resolve
from faregate.compile.lint import lint
from faregate.compile.lint_callers import lint_callers
from faregate.compile.openapi.validation import Validations, check_validation, validated
from faregate.compile.peppers import check_peppers
from faregate.compile.references import check_references
from faregate.compile.upstream_protocol import check_upstream_protocol
from faregate.compile.upstream_tls import check_upstream_tls, upstream_tls
from faregate.compile.versions import check_versions
from faregate.model.config import Config
from faregate.model.diagnostics import Diagnostic, Finding, Findings, has_errors
from faregate.model.load import Loaded
from faregate.model.source import place_findings
from faregate.model.tree import Tree
from faregate.snapshot.data import FORMAT, Pepper, Snapshot


def compile_config(
    loaded: Loaded,
    revision: int,
    *,
    wall: float | None = None,
    counts: Callable[[Finding], bool] | None = None,
) -> tuple[Snapshot | None, list[Diagnostic]]:
    """The snapshot, or None when there is an error; and all diagnostics, sorted by file, line and column.

    ``revision``: the number the snapshot carries. ``wall``: seconds since the epoch for what is judged by the
    day, None for the clock's. ``counts``: which of the findings do, where ``loaded`` is a
    part of a whole. Reads the files that issuers and TLS settings name, no more.
    """
    wall = time.time() if wall is None else wall
    findings = Findings(placed=list(loaded.diagnostics))
    certificates: Credentials = {}
    key_sets: dict[str, bytes] = {}
    peppers: tuple[Pepper, ...] = ()
    validations: Validations = {}
    if loaded.tree.complete:
        # with a file missing, every name in it would be reported again as undefined
        data = loaded.tree.data
        check_references(data, findings)
        check_grants(data, findings)
        check_available(data, findings)
        check_conflicts(data, findings)
        check_completeness(data, findings)
        check_public(data, findings)
        key_sets = check_issuers(loaded.tree, findings)
        check_upstream_protocol(loaded.tree, findings)
        check_upstream_tls(loaded.tree, findings)
        certificates = check_certificates(loaded.tree, wall, findings)
        peppers = check_peppers(loaded.tree, findings)
    known = loaded.config or loaded.partial
    if known is not None:
        check_idempotency(known, findings)
        check_versions(known, findings)
        validations = check_validation(known, loaded.tree, findings)
        lint(known, findings)
        lint_callers(known, loaded.tree.data, wall, findings)
    if counts is not None:
        findings.pending = [finding for finding in findings.pending if counts(finding)]
    diagnostics = place_findings(findings, loaded.tree.owner)
    if loaded.config is None or has_errors(diagnostics):
        return None, diagnostics
    snapshot = _snapshot(loaded.config, loaded.tree, key_sets, certificates, revision)
    snapshot = validated(snapshot, validations)
    return msgspec.structs.replace(snapshot, peppers=peppers), diagnostics


def _snapshot(
    config: Config, tree: Tree, key_sets: dict[str, bytes], certificates: Credentials, revision: int
) -> Snapshot:
    versions, routes = translate.api_records(config)
    issuers = []
    for name, issuer in config.issuers.items():
        ca = None if issuer.tls is None else resolve(tree, ("issuers", name, "tls", "ca"), issuer.tls.ca)
        issuers.append(translate.issuer_record(name, issuer, key_sets.get(name), ca))
    return Snapshot(
        format=FORMAT,
        revision=revision,
        gateway=translate.gateway_record(
            config.gateway,
            resolve(tree, ("gateway", "data"), config.gateway.data),
            [listener_tls(tree, index, one.tls) for index, one in enumerate(config.gateway.listen)],
            audit_record(tree, config.gateway.audit),
        ),
        issuers=tuple(issuers),
        upstreams=tuple(
            translate.upstream_record(name, upstream, upstream_tls(tree, name, upstream))
            for name, upstream in config.upstreams.items()
        ),
        plans=tuple(translate.plan_record(name, plan) for name, plan in config.plans.items()),
        consumers=tuple(
            translate.consumer_record(name, consumer, certificates, config.groups)
            for name, consumer in config.consumers.items()
        ),
        versions=versions,
        routes=routes,
        needs_ledger=any(route.idempotency is not None for route in routes),
        checks_bodies=any(route.reads_bodies for route in routes),
        needs_audit=any(route.audit != "off" for route in routes),
    )
