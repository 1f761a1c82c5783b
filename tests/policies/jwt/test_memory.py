"""J19 of http-rules.md: what is remembered of tokens, and for how long."""

import json

import pytest
from joserfc import jwt as oracle
from joserfc.jwk import ECKey, OKPKey, RSAKey

from faregate.kernel.problems import Refusal
from faregate.policies.authenticate.challenge import Reason
from faregate.policies.jwt.memory import (
    FAILURE_S,
    FAILURES_MAX,
    FAILURES_PER_PEER_MAX,
    FailureMemory,
    TokenMemory,
    Verified,
)
from faregate.policies.jwt.step import HEADERS_MAX, IDENTITIES_MAX
from faregate.snapshot.call import Identity, ReadyConsumer
from faregate.stores.jwk import KeySet
from tests.policies.jwt.material import (
    AUDIENCE,
    ISSUER,
    WALL,
    authenticators,
    call_with,
    claims,
    issuer,
    key_for,
    private_key,
    reason_of,
    route,
    token,
)


class Counted:
    """A gateway whose signature checks are counted."""

    def __init__(self) -> None:
        self.all = authenticators()
        self.step = self.all.step_for(route("jwt"))
        self.keys = self.all.jwt._only.source.current
        self.checks = 0
        verify = self.keys.verifiers["ES256", "k1"]

        def counting(signature: bytes, signed: bytes) -> bool:
            self.checks += 1
            return verify(signature, signed)

        self.keys.verifiers["ES256", "k1"] = counting

    def __call__(
        self, value: bytes, *, wall: float = WALL, now: float = 1000.0, ip: str = "127.0.0.1"
    ) -> str:
        call = call_with(b"Bearer " + value, wall=wall, ip=ip)
        call.now = now
        verdict = self.step(call)
        assert verdict is None or isinstance(verdict, Refusal)
        assert (call.identity is not None) == (verdict is None)
        assert call.credential_used == (b"authorization" if verdict is None else b"")
        return "accepted" if verdict is None else verdict.reason


def test_a_verified_token_is_not_verified_again() -> None:
    gateway, value = Counted(), token()
    assert [gateway(bytes(bytearray(value))) for _ in range(5)] == ["accepted"] * 5
    assert gateway.checks == 1


def test_j19_an_entry_past_exp_is_refused_at_once() -> None:
    gateway, value = Counted(), token(claims(exp=WALL + 60))
    assert gateway(value) == "accepted"
    assert gateway(value, wall=WALL + 69.9) == "accepted"
    assert gateway.checks == 1
    assert gateway(value, wall=WALL + 70) == "expired"
    assert len(gateway.all.jwt.memory) == 0


def test_j19_an_entry_before_nbf_is_refused_when_the_clock_goes_back() -> None:
    gateway, value = Counted(), token(claims(nbf=WALL - 5))
    assert gateway(value) == "accepted"
    assert gateway(value, wall=WALL - 3600) == "not_yet_valid"
    assert gateway(value) == "accepted"


def test_j19_an_entry_whose_key_set_was_replaced_is_checked_anew() -> None:
    gateway, value = Counted(), token()
    assert gateway(value) == "accepted"
    source = gateway.all.jwt._only.source
    source.current.live = False
    source.current = KeySet({("ES256", "k2"): lambda *_: True}, frozenset({"k2"}))
    assert gateway(value) == "unknown_key"


def test_j19_an_entry_of_the_old_generation_is_bound_to_its_key_set_too() -> None:
    gateway, value = Counted(), token()
    memory = gateway.all.jwt.memory
    assert gateway(value) == "accepted"
    memory._old, memory.young = memory.young, {}
    assert gateway(value) == "accepted"
    assert gateway.checks == 1
    memory._old, memory.young = memory.young, {}
    source = gateway.all.jwt._only.source
    source.current.live = False
    source.current = KeySet({("ES256", "k2"): lambda *_: True}, frozenset({"k2"}))
    assert gateway(value) == "unknown_key"


def test_j19_another_spelling_is_another_token() -> None:
    gateway, value = Counted(), token()
    assert gateway(value) == "accepted"
    for other in (value + b"=", value[:-1] + bytes([value[-1] ^ 1]), value + b" ", value[:-2]):
        assert gateway(other) in {"malformed_token", "bad_signature"}
    assert gateway(value) == "accepted"


def test_j19_a_token_with_the_same_start_is_another_token() -> None:
    gateway, value = Counted(), token()
    assert gateway(value) == "accepted"
    start, _, signature = value.rpartition(b".")
    assert gateway(start + b"." + b"A" * len(signature)) == "bad_signature"
    head, _, rest = value.partition(b".")
    assert gateway(head + b".AAAA." + rest.partition(b".")[2]) == "bad_signature"


def entry() -> Verified:
    return Verified(Identity(ReadyConsumer("acme"), "c"), 0.0, 1.0, KeySet({}, frozenset()))


def test_memory_is_bounded_in_entries_and_keeps_what_is_in_use() -> None:
    memory, kept = TokenMemory(entries_max=100), entry()
    memory.keep(b"hot", kept)
    for number in range(1000):
        memory.keep(b"%d" % number, entry())
        assert len(memory) <= 100
        if b"hot" not in memory.young:
            found = memory.recall(b"hot")
            assert found is kept
            memory.keep(b"hot", found)
    assert memory.young[b"999"]
    assert memory.recall(b"1") is None


def test_memory_is_bounded_in_bytes() -> None:
    memory = TokenMemory(entries_max=10_000, bytes_max=100_000)
    for number in range(300):
        memory.keep(b"%08d" % number * 100, entry())
        assert len(memory) * 1000 <= 100_000


def test_a_forgotten_entry_frees_its_bytes() -> None:
    memory = TokenMemory(entries_max=1000, bytes_max=4000)
    for _ in range(100):
        memory.keep(b"x" * 1000, entry())
        assert memory.recall(b"x" * 1000) is None
    assert len(memory) == 0
    memory.keep(b"a" * 1000, entry())
    assert b"a" * 1000 in memory.young


def test_a_bad_token_costs_one_signature_check_in_five_seconds() -> None:
    gateway, bad = Counted(), token(key=private_key("ES256", 9))
    assert [gateway(bad) for _ in range(5)] == ["bad_signature"] * 5
    assert gateway.checks == 1
    assert gateway(bad, now=1000.0 + FAILURE_S) == "bad_signature"
    assert gateway.checks == 2


def test_a_token_that_only_came_early_is_not_remembered_as_bad() -> None:
    gateway, early = Counted(), token(claims(nbf=WALL + 100))
    assert gateway(early) == "not_yet_valid"
    assert gateway(early, wall=WALL + 90) == "accepted"


def test_failures_are_bounded_and_no_peer_takes_more_than_its_share() -> None:
    memory = FailureMemory()
    for number in range(500):
        memory.keep(b"%d" % number, Reason.BAD_SIGNATURE, "198.51.100.1", 0.0)
    assert sum(memory.find(b"%d" % number, 0.0) is not None for number in range(500)) == FAILURES_PER_PEER_MAX
    memory.keep(b"other", Reason.EXPIRED, "198.51.100.2", 0.0)
    assert memory.find(b"other", 0.0) is Reason.EXPIRED
    for number in range(3 * FAILURES_MAX):
        memory.keep(b"x%d" % number, Reason.BAD_SIGNATURE, f"198.51.{number // 250}.{number % 250}", 0.0)
        assert len(memory._found) <= FAILURES_MAX
    for number in range(300):
        memory.keep(b"%08d" % number * 1000, Reason.BAD_SIGNATURE, str(number), 0.0)
        assert memory._bytes <= 1 << 20


def test_headers_and_identities_remembered_are_bounded() -> None:
    gateway = authenticators()
    jwt = gateway.jwt
    for number in range(HEADERS_MAX + 50):
        reason_of_header = token(header={"kid": f"k{number}"}).split(b".")[0]
        jwt._read_header(b"Bearer " + reason_of_header)
        assert len(jwt._headers) <= HEADERS_MAX
    ready_issuer = jwt._only
    for number in range(IDENTITIES_MAX + 50):
        ready_issuer.identity("acme-server", f"scope{number}")
    assert len(ready_issuer._narrowed) <= IDENTITIES_MAX


@pytest.mark.parametrize(
    ("algorithm", "make"),
    [
        ("RS256", RSAKey.import_key),
        ("PS384", RSAKey.import_key),
        ("ES256", ECKey.import_key),
        ("ES512", ECKey.import_key),
        ("Ed25519", OKPKey.import_key),
    ],
)
def test_tokens_of_another_implementation_are_accepted(algorithm: str, make) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = key_for("EdDSA" if algorithm == "Ed25519" else algorithm).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    key = make(pem, {"kid": "k1", "use": "sig", "alg": algorithm})
    keys = json.dumps({"keys": [key.as_dict(private=False)]}).encode()
    value = oracle.encode(
        {"alg": algorithm, "kid": "k1"},
        {"iss": ISSUER, "sub": "acme-server", "aud": [AUDIENCE], "exp": WALL + 60},
        key,
        algorithms=[algorithm],
    )
    assert reason_of(value.encode(), issuer(algorithms=(algorithm,), jwks=keys)) == "accepted"
