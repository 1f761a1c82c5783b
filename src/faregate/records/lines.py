"""Call records as lines of JSON (SPEC section 4), a batch at a time, counted in the same pass.

Two renderers. The quick one is one f-string a call and trusts its text; the careful one masks and escapes
every field. ``suspicion`` says for a whole batch at once which calls need the second. Names from
configuration are masked and escaped once and kept with the slots that count under them. Bodies are left to
the writer's thread.
"""

import time
from bisect import bisect_left
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Final, NamedTuple

from faregate.records.bodies import CapturedBody, render_body
from faregate.records.families import DURATION_BUCKETS_US, GATEWAY_BUCKETS_US
from faregate.records.frames import DURATION_SUM, DURATIONS_AT, GATEWAYS_AT, UPSTREAM_SUM, UPSTREAMS_AT
from faregate.records.masking import mask_text
from faregate.records.metrics import CallMetrics, RouteSlot, TargetSlot
from faregate.records.recognise import mask_cards
from faregate.records.suspicion import suspicious
from faregate.snapshot.call import Call, Identity

FIELDS: Final = (
    "time", "request_id", "trace_id", "client_ip", "consumer", "credential", "api", "version",
    "version_asked", "route", "method", "path", "status", "outcome", "refusal", "reason", "upstream",
    "target", "attempts", "duration_us", "upstream_us", "gateway_us", "request_bytes", "response_bytes",
    "idempotency", "tls", "revision", "request_body", "response_body",
)  # fmt: skip
"""The members of a line in their order; absent ones are left out (SPEC section 4)."""

_KEPT_MAX: Final = 4096
"""Rendered names kept. They come from configuration and closed tables; a store that fills is begun anew."""

_METHODS: Final = {
    name.encode(): name
    for name in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT")
}
_THOUSANDTHS: Final = tuple(f"{millisecond:03d}Z" for millisecond in range(1000))
_NUMBERS: Final = tuple(str(number) for number in range(10_000))
"""Formatting an integer is the dearest part of a quick line; most of its numbers stand here."""
_NUMBERS_END: Final = len(_NUMBERS)
_DURATION_PLACE: Final = bytes(
    DURATIONS_AT + bisect_left(DURATION_BUCKETS_US, number) for number in range(_NUMBERS_END)
)
_UPSTREAM_PLACE: Final = bytes(UPSTREAMS_AT - DURATIONS_AT + place for place in _DURATION_PLACE)
_GATEWAY_PLACE: Final = bytes(
    GATEWAYS_AT + bisect_left(GATEWAY_BUCKETS_US, number) for number in range(_NUMBERS_END)
)
"""Where in a route's row the bucket of each number of microseconds up to there stands."""
_LIMIT_REFUSALS: Final = frozenset({"rate_limited", "quota_exhausted", "concurrency_exceeded"})


class BodyLine(NamedTuple):
    """A line whose bodies are still to be masked; ``render`` is slow and runs in the writer's thread."""

    head: str
    bodies: tuple[tuple[str, CapturedBody], ...]
    digest_key: bytes | None

    @property
    def bytes_held(self) -> int:
        return len(self.head) + sum(len(captured.body) for _, captured in self.bodies)

    def render(self) -> bytes:
        """The finished line. A card number that all else let through withholds the bodies (payments.md
        section 7.2).
        """
        members = "".join(
            f',"{name}":{render_body(captured, self.digest_key)}' for name, captured in self.bodies
        )
        if mask_cards(members) != members:
            members = "".join(f',"{name}":{{"withheld":"card_number"}}' for name, _ in self.bodies)
        return f"{self.head}{members}}}\n".encode()


class Batch(NamedTuple):
    """What the recorder hands to the writer: ``lines`` lines, most of them finished."""

    data: bytes
    deferred: tuple[BodyLine, ...]
    lines: int
    audited: tuple[str, ...] = ()

    @property
    def bytes_held(self) -> int:
        return len(self.data) + sum([line.bytes_held for line in self.deferred])


class LineRenderer:
    """Renders and counts calls. Belongs to one thread.

    ``digest_key``: makes the digests of withheld bodies keyed ones (``bodies.render_body``).
    """

    def __init__(self, metrics: CallMetrics, digest_key: bytes | None = None) -> None:
        self._metrics = metrics
        self._digest_key = digest_key
        self._second = -1
        self._second_text = ""
        self._kept: dict[tuple[str, str], str] = {}

    def render(self, calls: Sequence[Call]) -> Batch:
        """The lines of ``calls`` in their order, except that those with bodies come last."""
        with_bodies: list[int] = []
        audited: list[int] = []
        lines = self._quick(calls, with_bodies, audited)
        careful = set(suspicious(calls))
        careful.update([index for index, line in enumerate(lines) if not line])
        for index in careful:
            lines[index] = self._careful(calls[index])
        records = tuple([lines[index] for index in audited]) if audited else ()
        deferred = []
        for index in with_bodies:
            call = calls[index]
            if call.request_body is not None or call.response_body is not None:
                deferred.append(BodyLine(lines[index][:-2], tuple(_captured(call)), self._digest_key))
                lines[index] = ""
        return Batch("".join(lines).encode(), tuple(deferred), len(lines), records)

    def render_one(self, call: Call) -> Batch:
        """One call by the careful way alone, without bodies and uncounted: for calls on which ``render``
        failed.
        """
        line = self._careful(call)
        return Batch(line.encode(), (), 1, (line,) if _is_audited(call) else ())

    def _quick(  # noqa: PLR0915 - calls to functions of its own would cost a fifth more
        self, calls: Sequence[Call], with_bodies: list[int], audited: list[int]
    ) -> list[str]:
        """One line a call, empty where only the careful way will do, and each call counted. ``audited``
        takes those that the audit tree shall have.

        The one loop where a tenth of a microsecond matters (benchmarks/micro_records.py): names are local, a
        slot is looked up once, and what a slot can render beforehand it has rendered.
        """
        lines: list[str] = []
        metrics = self._metrics
        routes, targets, methods, thousandths = metrics.routes, metrics.targets, _METHODS, _THOUSANDTHS
        request_ids = _decoded([call.request_id for call in calls])
        trace_ids = _decoded([call.trace_id for call in calls])
        numbers, end = _NUMBERS, _NUMBERS_END
        durations, upstreams, gateways = _DURATION_PLACE, _UPSTREAM_PLACE, _GATEWAY_PLACE
        request_bytes = response_bytes = 0
        revision, revision_field = -1, ""
        for call, request_id, trace_id in zip(calls, request_ids, trace_ids, strict=True):
            wall = call.wall - call.waited
            second = int(wall)
            if second != self._second:
                self._new_second(second)
            slot = routes.get(call.route) or metrics.slot(call.route)
            ended = slot.ends.get((call.outcome, call.status)) or slot.new_end(call.outcome, call.status)
            ended.calls += 1
            duration_us = int(call.duration * 1e6)
            upstream_us = int(call.upstream_duration * 1e6)
            gateway_us = duration_us - upstream_us
            attempts = call.attempts
            if attempts and duration_us < end and gateway_us >= 0:
                # Each below ``end``: text and bucket stand in tables.
                counts = slot.counts
                counts[durations[duration_us]] += 1
                counts[upstreams[upstream_us]] += 1
                counts[gateways[gateway_us]] += 1
                counts[DURATION_SUM] += duration_us
                counts[UPSTREAM_SUM] += upstream_us
                place = (call.upstream, call.target_name, attempts)
                target = targets.get(place) or _new_target(targets, place)
                target.calls += 1
                sent = target.line_fields
                times = (
                    f'"duration_us":{numbers[duration_us]},"upstream_us":{numbers[upstream_us]},'
                    f'"gateway_us":{numbers[gateway_us]}'
                )
            else:
                sent, times = self._unusual_times(call, slot)
            asked, answered = call.request_bytes, call.response_bytes
            request_bytes += asked
            response_bytes += answered
            if call.revision != revision:
                revision = call.revision
                revision_field = f'"revision":{revision}}}\n'
            identity = call.identity
            if identity is None:
                consumer = ""
            else:
                consumer = identity.log_fields or _identity_fields(identity)
                called = slot.place
                use = called.uses.get(identity.headers) or metrics.uses.begin(called, identity)
                use.calls += 1
                use.seen = wall
                use.status = call.status
                if not 0 < call.status < 400:
                    use.errors += 1
            refusal = self._refused(call) if call.reason or call.refusal else ""
            if slot.logs_bodies:
                with_bodies.append(len(lines))
            if slot.audited and (identity is not None or not call.refusal):
                audited.append(len(lines))
            method = methods.get(call.method)
            if method is None or not request_id or not trace_id:
                lines.append("")
                continue
            lines.append(
                f'{{"time":"{self._second_text}{thousandths[int((wall - second) * 1000)]}",'
                f'"request_id":"{request_id}","trace_id":"{trace_id}","client_ip":"{call.client_ip}",'
                f'{consumer}{slot.line_fields}"method":"{method}","path":"{call.path}",'
                f"{ended.line_fields}{refusal}{sent}"
                f'{times},"request_bytes":{numbers[asked] if asked < end else asked},'
                f'"response_bytes":{numbers[answered] if answered < end else answered},'
                f"{call.idempotency and self._keyed(call)}"
                f"{call.tls and self._member_kept('tls', call.tls)}{revision_field}"
            )
        metrics.request_bytes += request_bytes
        metrics.response_bytes += response_bytes
        return lines

    def _unusual_times(self, call: Call, slot: RouteSlot) -> tuple[str, str]:
        """Counts a call that was not sent or took long; its target's members and its durations."""
        duration_us = int(call.duration * 1e6)
        counts = slot.counts
        counts[DURATIONS_AT + bisect_left(DURATION_BUCKETS_US, duration_us)] += 1
        counts[DURATION_SUM] += duration_us
        upstream_us = 0
        sent = self._member_kept("upstream", call.upstream) if call.upstream else ""
        upstream = ""
        if call.attempts:
            place = (call.upstream, call.target_name, call.attempts)
            targets = self._metrics.targets
            target = targets.get(place) or _new_target(targets, place)
            target.calls += 1
            sent = target.line_fields
            upstream_us = int(call.upstream_duration * 1e6)
            counts[UPSTREAMS_AT + bisect_left(DURATION_BUCKETS_US, upstream_us)] += 1
            counts[UPSTREAM_SUM] += upstream_us
            upstream = f',"upstream_us":{upstream_us}'
        gateway_us = duration_us - upstream_us
        counts[GATEWAYS_AT + bisect_left(GATEWAY_BUCKETS_US, gateway_us)] += 1
        return sent, f'"duration_us":{duration_us}{upstream},"gateway_us":{gateway_us}'

    def _careful(self, call: Call) -> str:
        """The same line with every text masked and escaped, and absent members left out."""
        wall = call.wall - call.waited
        second = int(wall)
        if second != self._second:
            self._new_second(second)
        identity, route, method = call.identity, call.route, _METHODS.get(call.method)
        place = (call.upstream, call.target_name, call.attempts)
        targets = self._metrics.targets
        target = (targets.get(place) or _new_target(targets, place)) if call.attempts else None
        duration_us = int(call.duration * 1e6)
        upstream_us = int(call.upstream_duration * 1e6) if call.attempts else 0
        parts = (
            f'"time":"{self._second_text}{_THOUSANDTHS[int((wall - second) * 1000)]}",',
            _member("request_id", call.request_id.decode("latin-1")),
            _member("trace_id", call.trace_id.decode("latin-1")),
            f'"client_ip":{quoted(call.client_ip)},' if call.client_ip else "",
            "" if identity is None else identity.log_fields or _identity_fields(identity),
            f"{route.log_fields}," if route is not None and route.log_fields else "",
            f'"method":"{method}",' if method else _member("method", call.method.decode("latin-1")),
            _member("path", call.path),
            f'"status":{call.status},' if call.status else "",
            f'"outcome":"{call.outcome}",',
            self._refusal_kept(call) if call.reason or call.refusal else "",
            target.line_fields
            if target
            else self._member_kept("upstream", call.upstream)
            if call.upstream
            else "",
            f'"duration_us":{duration_us},',
            f'"upstream_us":{upstream_us},' if call.attempts else "",
            f'"gateway_us":{duration_us - upstream_us},',
            f'"request_bytes":{call.request_bytes},"response_bytes":{call.response_bytes},',
            self._member_kept("idempotency", call.idempotency) if call.idempotency else "",
            self._member_kept("tls", call.tls) if call.tls else "",
            f'"revision":{call.revision}',
        )
        return f"{{{''.join(parts)}}}\n"

    def _new_second(self, second: int) -> None:
        self._second = second
        self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))

    def _refused(self, call: Call) -> str:
        """Counts a refusal and gives its part of the line; an answered call may have a reason alone, as a
        tunnel has for its end.
        """
        if call.refusal:
            refusals = self._metrics.refusals
            key = (call.refusal, call.parameter if call.refusal in _LIMIT_REFUSALS else "")
            refusals[key] = refusals.get(key, 0) + 1
        return self._refusal_kept(call)

    def _keyed(self, call: Call) -> str:
        """Counts what became of a call with an idempotency key and gives its part of the line."""
        route = call.route
        if route is not None:
            keyed = self._metrics.keyed
            api, version, label = route.metric_labels
            key = (api, version, label, call.idempotency)
            keyed[key] = keyed.get(key, 0) + 1
        return self._member_kept("idempotency", call.idempotency)

    def _refusal_kept(self, call: Call) -> str:
        key = (call.refusal, call.reason)
        return self._kept.get(key) or self._keep(key, _refusal_fields(call))

    def _member_kept(self, name: str, text: str) -> str:
        return self._kept.get((name, text)) or self._keep((name, text), _member(name, text))

    def _keep(self, key: tuple[str, str], fields: str) -> str:
        if len(self._kept) >= _KEPT_MAX:
            self._kept.clear()
        self._kept[key] = fields
        return fields


def _member(name: str, text: str) -> str:
    """``"name":"text",`` masked and escaped, or nothing when ``text`` is empty."""
    return f'"{name}":{quoted(mask_text(text))},' if text else ""


def _is_audited(call: Call) -> bool:
    """Whether the call is to be recorded: its route says so, and it was let pass or is somebody's."""
    route = call.route
    return route is not None and route.data.audit != "off" and (call.identity is not None or not call.refusal)


def _refusal_fields(call: Call) -> str:
    return _member("refusal", call.refusal) + _member("reason", call.reason)


def _target_fields(upstream: str, target: str, attempts: int) -> str:
    return f'{_member("upstream", upstream)}{_member("target", target)}"attempts":{attempts},'


def _identity_fields(identity: Identity) -> str:
    fields = _member("consumer", identity.consumer.name) + _member("credential", identity.credential)
    identity.log_fields = fields
    return fields


def _new_target(targets: dict[tuple[str, str, int], TargetSlot], place: tuple[str, str, int]) -> TargetSlot:
    slot = targets[place] = TargetSlot(_target_fields(*place))
    return slot


def _decoded(ids: list[bytes]) -> list[str]:
    """``ids`` as text, all empty when one holds a line break: then none can be told from another here."""
    texts = b"\n".join(ids).decode("latin-1").split("\n")
    return texts if len(texts) == len(ids) else [""] * len(ids)


def _captured(call: Call) -> list[tuple[str, CapturedBody]]:
    bodies = []
    if call.request_body is not None:
        captured = CapturedBody(call.request_body, call.request_bytes, call.request_content_type)
        bodies.append(("request_body", captured))
    if call.response_body is not None:
        captured = CapturedBody(call.response_body, call.response_bytes, call.response_content_type)
        bodies.append(("response_body", captured))
    return bodies
