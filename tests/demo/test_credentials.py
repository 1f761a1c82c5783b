"""The demo's tokens and keys are what an outside library accepts."""

import hashlib

import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet

from faregate.demo.credentials import AUDIENCE, ISSUER, DevelopmentIssuer, new_api_key


def test_another_library_verifies_a_token_with_the_published_key_set():
    issuer = DevelopmentIssuer()
    import json

    key_set = KeySet.import_key_set(json.loads(issuer.jwks()))
    token = jwt.decode(issuer.token("acme-shop", 1000, 60), key_set, algorithms=["ES256"])
    assert token.claims == {"iss": ISSUER, "aud": AUDIENCE, "sub": "acme-shop", "iat": 1000, "exp": 1060}
    assert token.header["kid"] == key_set.keys[0].kid


def test_a_token_of_another_issuer_is_not_accepted():
    import json

    issuer = DevelopmentIssuer()
    stranger_set = json.loads(DevelopmentIssuer().jwks())
    stranger_set["keys"][0]["kid"] = json.loads(issuer.jwks())["keys"][0]["kid"]
    with pytest.raises(BadSignatureError):
        jwt.decode(
            issuer.token("acme-shop", 1000, 60), KeySet.import_key_set(stranger_set), algorithms=["ES256"]
        )


def test_the_key_set_holds_no_private_member():
    assert '"d"' not in DevelopmentIssuer().jwks()


def test_an_api_key_comes_with_its_digest_and_is_new_each_time():
    key, digest = new_api_key()
    assert key.startswith("fg_")
    assert digest == hashlib.sha256(key.encode()).hexdigest()
    assert new_api_key()[0] != key
