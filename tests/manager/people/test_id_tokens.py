"""ID tokens of a provider: forged ones open nothing, whatever they were forged by, and the answer says nothing."""

import base64
import json
from collections.abc import Callable

import pytest
from joserfc.jwk import ECKey, RSAKey

from faregate.manager.people.provider import KEYS_AGAIN_MS
from tests.manager.conftest import AtDesk
from tests.manager.desk import Desk
from tests.manager.people.oidc_play import EMBEDDED, NO, Now, but, play, reason, sign_in
from tests.manager.people.oidc_provider import Claims, Provider, hmac_with_public_key


def unsigned(_: Provider, claims: Claims) -> str:
    parts = [json.dumps(one).encode() for one in ({"alg": "none", "kid": "one"}, claims)]
    return ".".join(base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in parts) + "."


def another_payload(provider: Provider, claims: Claims) -> str:
    head, _, signature = provider.signed(claims).split(".")
    payload = json.dumps({**claims, "groups": ["owners"]}).encode()
    return f"{head}.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}.{signature}"


def with_own_key(provider: Provider, claims: Claims) -> str:
    own = ECKey.generate_key("P-256", {"kid": "one"})
    return provider.signed(claims, own, jwk=own.as_dict(private=False))


STRANGER = ECKey.generate_key("P-256")
RSA = RSAKey.generate_key(2048, {"kid": "one"})


FORGED: dict[str, tuple[str, Callable[[Provider, Claims], str]]] = {
    "alg none": ("malformed_token", unsigned),
    "alg none, signed by somebody": ("algorithm_not_allowed", lambda _, claims: unsigned(_, claims) + "AAAA"),
    "HS256 with the public key": ("algorithm_not_allowed", hmac_with_public_key),
    "a key of its own in the header": ("header_not_allowed", with_own_key),
    "keys from elsewhere": ("header_not_allowed", lambda p, claims: p.signed(claims, jku="https://evil.example")),
    "signed by a stranger": ("bad_signature", lambda p, claims: p.signed(claims, STRANGER)),
    "another payload": ("bad_signature", another_payload),
    "an unknown kid": ("unknown_key", lambda p, claims: p.signed(claims, kid="two")),
    "another algorithm of the same kid": ("unknown_key", lambda p, claims: p.signed(claims, RSA, alg="RS256")),
    "an access token": ("wrong_type", lambda p, claims: p.signed(claims, typ="at+jwt")),
    "a logout token": ("wrong_type", lambda p, claims: p.signed(claims, typ="logout+jwt")),
    "four parts": ("malformed_token", lambda p, claims: p.signed(claims) + ".AAAA"),
    "another issuer": ("wrong_issuer", but(iss="https://evil.example")),
    "the issuer with a slash": ("wrong_issuer", lambda p, claims: but(iss=p.url + "/")(p, claims)),
    "for another client": ("wrong_audience", but(aud="other")),
    "for a client whose name begins so": ("wrong_audience", but(aud="faregate2")),
    "for nobody": ("wrong_audience", but(aud=None)),
    "for others too, without azp": ("wrong_party", but(aud=["faregate", "other"])),
    "for others too, made for another": ("wrong_party", but(aud=["faregate", "other"], azp="other")),
    "made for another": ("wrong_party", but(azp="other")),
    "ended": ("expired", but(iat=Now(-500), exp=Now(-61))),
    "without an end": ("malformed_claims", but(exp=None)),
    "an end that is true": ("malformed_claims", but(exp=True)),
    "without a beginning": ("malformed_claims", but(iat=None)),
    "of the future": ("not_yet_valid", but(iat=Now(120))),
    "not yet": ("not_yet_valid", but(nbf=Now(120))),
    "old, with a far end": ("too_old", but(iat=Now(-700), exp=Now(9_000))),
    "without nonce": ("wrong_nonce", but(nonce=None)),
    "another nonce": ("wrong_nonce", but(nonce="0" * 64)),
    "without subject": ("malformed_claims", but(sub=None)),
    "an empty subject": ("malformed_claims", but(sub="")),
    "a long subject": ("malformed_claims", but(sub="x" * 256)),
    "a subject in two lines": ("malformed_claims", but(sub="u\n1")),
    "too many groups": ("too_many_groups", but(groups=["g"] * 2_001)),
    "too large": ("no_id_token", but(groups=["g" * 70_000])),
    "of a group that gives nothing": ("no_group_grants", but(groups=["others"])),
    "a group that only begins so": ("no_group_grants", but(groups=["owner", "ownerss", "Owners", ["owners"]])),
    "without groups": ("no_group_grants", but(groups=None)),
}  # fmt: skip


@EMBEDDED
@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_token_opens_nothing_and_the_answer_says_nothing(at_desk: AtDesk, forged: str) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        word, make = FORGED[forged]
        provider.forge = lambda claims: make(provider, claims)
        users = (await desk.machine.get("/users")).json()
        browser, answer = await sign_in(desk, provider)
        assert (answer.status_code, answer.json()["detail"]) == (401, NO)
        assert reason(desk) == word
        assert "set-cookie" not in answer.headers
        assert (await browser.get("/session")).status_code == 401
        assert (await desk.machine.get("/users")).json() == users

    play(at_desk, test)


@EMBEDDED
@pytest.mark.parametrize(
    "good",
    [
        but(aud=["faregate"]),
        but(aud=["faregate", "other"], azp="faregate"),
        but(exp=Now(-50), iat=Now(-100)),
        lambda p, claims: p.signed(claims, typ=None),
        lambda p, claims: p.signed(claims, kid="one", typ="jwt"),
    ],
)
def test_tokens_at_the_edge_of_what_is_good_are_taken(
    at_desk: AtDesk, good: Callable[[Provider, Claims], str]
) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        provider.forge = lambda claims: good(provider, claims)
        _, answer = await sign_in(desk, provider)
        assert answer.status_code == 200, reason(desk)

    play(at_desk, test)


def test_a_new_key_of_the_provider_is_fetched_and_a_removed_one_refused(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        await sign_in(desk, provider)
        old, new = provider.key, ECKey.generate_key("P-256", {"kid": "two", "alg": "ES256"})
        provider.published = [new]
        provider.forge = lambda claims: provider.signed(claims, new, kid="two")
        _, answer = await sign_in(desk, provider)
        assert (answer.status_code, reason(desk)) == (401, "unknown_key"), "not fetched at every token"
        desk.now += KEYS_AGAIN_MS
        _, answer = await sign_in(desk, provider)
        assert answer.status_code == 200
        provider.forge = lambda claims: provider.signed(claims, old)
        _, answer = await sign_in(desk, provider)
        assert (answer.status_code, reason(desk)) == (401, "unknown_key")
        assert provider.asked.count("/keys") == 2

    play(at_desk, test)
