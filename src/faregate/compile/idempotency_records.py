"""Idempotency and the ledger as the snapshot's records: words written out, the query with its whole path.

Pure, like ``translate``, of which it is a part: whatever could be wrong has been reported before.
"""

from faregate.compile.idempotency import ledger_place
from faregate.model.gateway import Gateway
from faregate.model.paths import join
from faregate.policies.idempotency import settings
from faregate.snapshot import idempotency as data

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"


def ledger_record(gateway: Gateway) -> data.Ledger:
    """Where the ledger is, with its secrets where the configuration gives them."""
    declared, place = gateway.ledger, ledger_place(gateway)
    return data.Ledger(
        store=place.kind,
        url="" if place.url is None else place.url.reveal().decode(),
        disk_bytes=declared.disk,
        accept_loss=declared.accept_loss,
        prefix=declared.prefix,
        lookup_key=b"" if declared.lookup_key is None else declared.lookup_key.reveal(),
        seal_keys=tuple((key.id, key.secret.reveal()) for key in declared.keys),
    )


def idempotency_record(
    setting: "str | settings.Idempotency", prefix: str, upstream: str
) -> data.Idempotency | None:
    """``prefix``: the version's path; ``upstream``: the route's. None for ``off``."""
    declared = settings.settings_of(setting)
    if declared is None:
        return None
    key = declared.key or settings.IdempotencyKey(header="idempotency-key")
    return data.Idempotency(
        required=declared.required,
        header=b"" if key.header is None else key.header.lower().encode(),
        pointers=tuple(key.json_pointer or ()),
        form=tuple(key.form or ()),
        keep=declared.keep,
        stores_all=declared.store_answers == "all",
        wait=declared.wait or 0.0,
        no_verdict=tuple(declared.no_verdict),
        not_run=tuple(declared.not_run),
        in_progress=None if declared.in_progress is None else _rule(declared.in_progress),
        covers=() if declared.fingerprint is None else tuple(declared.fingerprint.json_pointer),
        keeps_headers=tuple(name.lower().encode() for name in declared.keep_headers),
        resolve=None if declared.resolve is None else _resolve(declared.resolve, prefix, upstream),
    )


def _resolve(declared: settings.Resolve, prefix: str, upstream: str) -> data.Resolve:
    path, question, query = declared.query.target.partition("?")
    # below the version's path, like `match`; another upstream knows nothing of our versions
    whole = path if declared.upstream is not None else join(prefix, path)
    body = declared.body or ""
    made = data.Resolve(
        target=whole + question + query,
        upstream=declared.upstream or upstream,
        method=declared.query.method,
        body=body,
        content_type="" if not body else _JSON if body.lstrip()[:1] in {"{", "["} else _FORM,
        released=tuple(map(_rule, declared.released)),
        settling=declared.settling or 0.0,
        keeps_answer=declared.answer == "query",
    )
    if declared.done is None:
        return made
    return data.Resolve(
        made.target, made.upstream, made.method, made.body, made.content_type,
        tuple(map(_rule, declared.done)), made.released, made.settling, made.keeps_answer,
    )  # fmt: skip


def _rule(declared: settings.AnswerRule) -> data.AnswerRule:
    return data.AnswerRule(
        tuple(declared.status), declared.json_pointer, tuple(map(_plain, declared.values or ()))
    )


def _plain(value: str | int | bool) -> str | int | bool:  # noqa: FBT001 - a JSON value
    return "".join(value) if isinstance(value, str) else value
