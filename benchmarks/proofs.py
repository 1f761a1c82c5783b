"""Proof of work: before anything is measured, each contender shows that it does what it is measured for.

A proxy that skipped a check would look fast; the run stops instead. nginx bare proves only that it forwards.
"""

import json
from dataclasses import dataclass
from typing import Final

from benchmarks import tokens
from benchmarks.calls import get_call, payment_body, post_call
from benchmarks.contenders.base import Contender
from benchmarks.processes import Answer, burst, exchange

_SPOOFED = "X-Consumer-Id: admin\r\nX-Credential-Id: forged\r\nX-Consumer-Plan: gold\r\nX-Api-Version: v9\r\n"

_BURST: Final = 32
_BURSTS_MAX: Final = 10


class ProofError(Exception):
    """A contender does not do the work it would be measured for; the message says which."""


@dataclass(frozen=True)
class Proof:
    """One claim that held: what was asked, what came."""

    claim: str
    seen: str


def bearer(token: str) -> str:
    """The header line that carries ``token``."""
    return f"Authorization: Bearer {token}"


class Prover:
    """Puts the claims to one contender and keeps what it saw."""

    def __init__(self, contender: Contender, proof_tokens: dict[str, str]) -> None:
        self._contender = contender
        self._tokens = proof_tokens
        self._sent = 0
        self.proofs: list[Proof] = []

    def _send(self, call: bytes) -> Answer:
        self._sent += 1
        return exchange(self._contender.port, call, tls=self._contender.tls)

    def _hold(self, claim: str, seen: str, *, true: bool) -> None:
        if not true:
            raise ProofError(f"{self._contender.title} fails its proof: {claim}; seen: {seen}")
        self.proofs.append(Proof(claim, seen))

    def forwards(self) -> None:
        """GET and POST with a good token reach the upstream."""
        credential = bearer(self._tokens["valid"])
        for call in (
            get_call("/v2/payments/pay_1", credential),
            post_call("/v2/payments", credential, payment_body(1)),
        ):
            status = self._send(call).status
            self._hold(
                f"{call[:4].decode().strip()} with a valid token is forwarded",
                str(status),
                true=status == 200,
            )

    def refuses(self) -> None:
        """Every kind of bad token is refused; the audience also with 403, which is Envoy's answer to that."""
        for kind in (
            "other_key",
            "forged_claims",
            "flipped_signature",
            "expired",
            "other_audience",
            "other_issuer",
        ):
            status = self._send(get_call("/v2/payments/pay_1", bearer(self._tokens[kind]))).status
            allowed = {401, 403} if kind == "other_audience" else {401}
            self._hold(f"token {kind} is refused", str(status), true=status in allowed)
        status = self._send(get_call("/v2/payments/pay_1", "Authorization: Basic eDp5")).status
        self._hold("a call without token is refused", str(status), true=status == 401)
        status = self._send(get_call("/v2/accounts/1", bearer(self._tokens["valid"]))).status
        self._hold("an unknown path is refused", str(status), true=status == 404)

    def limits(self) -> None:
        """A consumer allowed SMALL_LIMIT calls a minute gets exactly so many, and 429 from then on."""
        call = get_call("/v2/payments/pay_1", bearer(self._tokens["small"]))
        seen = [self._send(call).status for _ in range(tokens.SMALL_LIMIT + 3)]
        expected = [200] * tokens.SMALL_LIMIT + [429] * 3
        self._hold("calls over the limit get 429", " ".join(map(str, seen)), true=seen == expected)

    def identifies(self) -> None:
        """The upstream learns who called, and nothing the caller claimed about that; the token stays here."""
        call = get_call("/v2/payments/echo", _SPOOFED + bearer(self._tokens["valid"]))
        answer = self._send(call)
        arrived: dict[str, str] = json.loads(answer.body)
        claimed = {"admin", "forged", "gold", "v9"} & set(arrived.values())
        seen = f"consumer {arrived['consumer']!r}, credential {arrived['credential']!r}"
        true = arrived["consumer"] == tokens.CONSUMERS[0] and not claimed and bool(arrived["credential"])
        self._hold("the consumer reaches the upstream, spoofed headers do not", seen, true=true)
        held = f"request id {bool(arrived['request_id'])}, authorization {arrived['authorization']!r}"
        true = bool(arrived["request_id"]) and not arrived["authorization"]
        self._hold("a request id is set and the token is not forwarded", held, true=true)

    def balances(self) -> None:
        """Both targets get calls: bursts of calls at once, since a balancer may rightly prefer one
        when idle.
        """
        call = get_call("/v2/payments/echo", bearer(self._tokens["valid"]))
        seen: set[str] = set()
        for _ in range(_BURSTS_MAX):
            self._sent += _BURST
            seen |= {
                json.loads(answer.body)["target"]
                for answer in burst(self._contender.port, call, _BURST, tls=self._contender.tls)
            }
            if len(seen) == 2:
                break
        self._hold("both targets are used", f"{len(seen)} of 2", true=len(seen) == 2)

    def logs(self, lines_before: int) -> None:
        """Every call so far, refused ones too, has its line, which is JSON and names no token."""
        log = self._contender.log
        assert log is not None
        lines = self._contender.wait_for_lines(lines_before + self._sent) - lines_before
        self._hold("one log line per call", f"{lines} lines, {self._sent} calls", true=lines == self._sent)
        text = log.read_text()
        record = json.loads(text.splitlines()[-1])
        fields = {"time", "request_id", "consumer", "route", "method", "path", "status", "target"}
        leaked = any(token in text for token in self._tokens.values())
        missing = sorted(fields - record.keys())
        self._hold(
            "the line is JSON, complete, without the token",
            f"missing {missing}",
            true=not missing and not leaked,
        )


def prove(contender: Contender, proof_tokens: dict[str, str]) -> list[Proof]:
    """All claims in order. Raises ProofError at the first that fails."""
    lines = contender.quiet_lines()
    prover = Prover(contender, proof_tokens)
    prover.forwards()
    if contender.log is not None:
        prover.limits()
        prover.refuses()
        prover.identifies()
        prover.balances()
        prover.logs(lines)
    return prover.proofs
