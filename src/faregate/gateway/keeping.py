"""What a worker needs to keep a route's calls from running twice: made once per route and revision.

The one place where the policy (``policies.idempotency``: key, fingerprint, verdict), the secrets and the
stored form of an answer meet. It asks nobody and waits for nothing; ``Claiming`` does.
"""

import os
from typing import TYPE_CHECKING, Final

from faregate.kernel.problems import Outcome, Refusal, Retry
from faregate.policies.idempotency.step import KEY_BYTES_MAX, QUOTE, Keying, fingerprint, verdict
from faregate.records.stored_answer import pack_answer, plain_body, shows_card_data
from faregate.stores.ledger.about import About, encode_about, written
from faregate.stores.ledger.moves import ABOUT_BYTES_MAX, ATTEMPT_BYTES, UNKNOWN, Claim
from faregate.stores.ledger.protocol import Ledger, Mover
from faregate.stores.ledger.sealing import Sealer

if TYPE_CHECKING:
    from hashlib import blake2b

    from faregate.gateway.http1.request import Fields
    from faregate.gateway.http1.response import ResponseHead
    from faregate.snapshot.call import Call
    from faregate.snapshot.data import Route, Version
    from faregate.snapshot.idempotency import Idempotency
    from faregate.stores.ledger.secrets import Secrets

CONSUMERS_MAX: Final = 4096
"""Consumers of one route whose part of the record's key is kept."""
_TOGETHER: Final = 64
"""Attempts for which randomness is drawn at once."""


class Recordkeeping:
    """One worker's ledger with what is needed to use it; another one where a revision names another store."""

    __slots__ = ("_drawn", "_mover", "_random", "ledger", "sealer", "secrets")

    def __init__(self, ledger: Ledger, secrets: "Secrets") -> None:
        self.ledger = ledger
        self.secrets = secrets
        self.sealer = Sealer(secrets)
        self._mover: Mover | None = None
        self._random = b""
        self._drawn = 0

    @property
    def mover(self) -> Mover:
        """Whom a call asks for its moves."""
        mover = self._mover
        if mover is None:  # made when a loop runs
            mover = self._mover = self.ledger.mover
        return mover

    def attempt(self) -> bytes:
        """A new attempt's name: random, so that nobody can speak for another's."""
        at = self._drawn
        if at >= len(self._random):
            self._random = os.urandom(ATTEMPT_BYTES * _TOGETHER)
            at = 0
        self._drawn = at + ATTEMPT_BYTES
        return self._random[at : at + ATTEMPT_BYTES]


class Keeping:
    """The idempotency of one route. ``asked``, ``asked_version``: what callers called, where another
    version's route runs; their keys and repeats are told apart by these, so that a repeat finds its record
    wherever it runs.
    """

    __slots__ = (
        "_api", "_asked_label", "_asked_path", "_asked_version", "_begun", "_keep_s", "_label", "_path",
        "_resolves", "_version", "data", "keeper", "keying",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913, PLR0917 - as said above
        self,
        data: "Idempotency",
        route: "Route",
        version: "Version",
        keeper: Recordkeeping,
        asked: "Route | None" = None,
        asked_version: "Version | None" = None,
    ) -> None:
        self.data = data
        self.keeper = keeper
        self.keying = Keying(data)
        self._api = route.api
        self._begun: dict[str, blake2b] = {}  # by consumer
        self._keep_s = int(data.keep)
        self._label = route.label
        self._resolves = data.resolve is not None
        self._version = version.name
        self._path = version.path
        self._asked_label = route.label if asked is None else asked.label
        self._asked_version = version.name if asked_version is None else asked_version.name
        self._asked_path = version.path if asked_version is None else asked_version.path

    def head_key(self, fields: "Fields") -> bytes | None:
        """The caller's key where a header carries it; None: it has none. Raises ``Refusal``."""
        header = self.data.header
        if header == b"idempotency-key":
            key = fields.idempotency_key
            if key is not None and fields.base is not None and len(key) <= KEY_BYTES_MAX and key[0] != QUOTE:
                return key  # it was told apart, so it is visible ASCII
            return self.keying.head_key(key)
        found = None
        for line in fields.lines:
            name, _, value = line.partition(b":")
            if name.lower() == header:
                if found is not None:
                    raise Refusal(
                        "idempotency_key_invalid",
                        reason="idempotency_key_doubled",
                        parameter=header.decode("ascii"),
                        detail="The header that carries the idempotency key came twice.",
                    )
                found = value.strip(b" \t\r\n")
        return self.keying.head_key(found)

    def claim(self, call: "Call", key: bytes, target: bytes, fields: "Fields", body: bytes) -> Claim:
        """What the ledger is asked for. Its steps have made sure that the call has a consumer."""
        data = self.data
        keeper = self.keeper
        identity = call.identity
        assert identity is not None
        consumer = identity.consumer.name
        begun = self._begun.get(consumer)
        if begun is None:
            if len(self._begun) >= CONSUMERS_MAX:
                self._begun.clear()
            begun = self._begun[consumer] = keeper.secrets.begin(consumer, self._api, self._asked_label)
        digest = begun.copy()
        digest.update(key)
        found = digest.digest()
        attempt = keeper.attempt()
        about = About(
            consumer,
            self._api,
            self._version,
            self._label,
            call.request_id.decode("ascii"),
            call.method.decode("ascii"),
            self._ran_at(call.path),
            call.wall,
            keeper.sealer.seal(found, attempt, key),
        )
        encoded = written(about)
        if len(encoded) > ABOUT_BYTES_MAX:
            encoded = encode_about(about)
        return Claim(
            found,
            attempt,
            fingerprint(
                call.method,
                call.path,
                target,
                fields.content_type,
                self._asked_version,
                body,
                data.covers,
            ),
            self._keep_s,
            encoded,
            False,  # noqa: FBT003 - known when it is asked
            self._resolves,
        )

    def _ran_at(self, path: str) -> str:
        """The path as the version has it that runs the call."""
        if self._asked_path == self._path or not path.startswith(self._asked_path):
            return path
        old = "" if self._asked_path == "/" else self._asked_path
        return ("" if self._path == "/" else self._path) + path.removeprefix(old) or "/"

    def verdict(self, head: "ResponseHead", body: bytes | None) -> int:
        """What an answer that came whole makes of the call: COMPLETED, RELEASED or UNKNOWN. ``body`` None: it
        was too long to be held. Where a body may say that the call still runs, one that cannot be read leaves
        it open.
        """
        data = self.data
        rule = data.in_progress
        if rule is not None and rule.pointer is not None:
            plain = None if body is None else plain_body(body, coding_of(head))
            if plain is None and (not rule.statuses or head.status in rule.statuses):
                return UNKNOWN
            body = plain
        return verdict(data, head.status, body or b"", head.content_type)

    def sealed(self, claim: Claim, head: "ResponseHead", body: bytes) -> bytes:
        """The answer as it is stored, or nothing when it must not be or is too long."""
        packed = pack_answer(head.status, head.lines, body, self.data.keeps_headers)
        if not packed or shows_card_data(body, coding_of(head)):
            return b""
        return self.keeper.sealer.seal(claim.key, claim.attempt, packed)

    def unsealed(self, claim: Claim, attempt: bytes, answer: bytes) -> bytes:
        """What ``answer`` of another ``attempt`` held, packed. Raises ``SealError``."""
        return self.keeper.sealer.unseal(claim.key, attempt, answer)


def keeping_of(
    keeper: Recordkeeping | None,
    route: "Route",
    version: "Version",
    asked: "Route | None" = None,
    asked_version: "Version | None" = None,
) -> Keeping | None:
    """What keeps a route's calls from running twice, None where nothing need; see ``Keeping``. Raises
    ``ValueError`` where the ledger is not open.
    """
    if route.idempotency is None:
        return None
    if keeper is None:
        raise ValueError("the ledger is not open")
    return Keeping(route.idempotency, route, version, keeper, asked, asked_version)


def coding_of(head: "ResponseHead") -> bytes:
    """Its ``Content-Encoding``, empty for none."""
    for line in head.lines:
        if line[0] | 0x20 == 0x63 and line[:17].lower() == b"content-encoding:":
            return line[17:].strip(b" \t\r\n")
    return b""


def in_flight() -> Refusal:
    """The same call is on its way."""
    return Refusal("idempotency_in_flight", reason="in_flight", retry_after=1)


def unsettled() -> Refusal:
    """The same call was sent before, and whether it ran is not known: the caller asks and repeats nothing."""
    return Refusal(
        "idempotency_in_flight",
        reason="outcome_unknown",
        outcome=Outcome.UNKNOWN,
        retry=Retry.AFTER_QUERY,
        detail="A call with this idempotency key was sent before; whether it acted is not known yet.",
    )


def answered(reason: str) -> Refusal:
    """The same call was answered before, and its answer is not at hand."""
    return Refusal(
        "idempotency_in_flight",
        reason=reason,
        outcome=Outcome.ANSWERED,
        retry=Retry.AFTER_QUERY,
        detail="A call with this idempotency key was answered before; its answer was not kept.",
    )


def mismatch() -> Refusal:
    """The key stands for another request."""
    return Refusal("idempotency_mismatch", reason="fingerprint_differs")
