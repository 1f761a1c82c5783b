"""``gateway.manager.sign_in`` as people write it: what is taken, what is refused, and what the manager is told of it."""

from typing import Any

import pytest
from pydantic import ValidationError

from faregate.compile.translate import _managing
from faregate.model.gateway import Gateway
from faregate.snapshot.managing import GroupGrant

GOOD: dict[str, Any] = {
    "issuer": "https://id.bank.example/realms/bank",
    "client_id": "faregate",
    "client_secret": "hush",
    "redirect": "https://gateway.bank.example/sign-in/oidc/callback",
    "grants": {
        "/gateway/owners": [{"role": "owner"}],
        "CN=ops": [{"role": "operator", "scope": "team:cards"}],
    },
}


def read(**more: Any) -> Gateway:
    told = {name: one for name, one in {**GOOD, **more}.items() if one is not None}
    return Gateway.model_validate({"manager": {"address": "127.0.0.1:9090", "sign_in": told}})


def test_it_reaches_the_manager_whole() -> None:
    found = _managing(read(second_factor="provider")).sign_in
    assert found is not None
    assert (found.issuer, found.client_id, found.client_secret) == (GOOD["issuer"], "faregate", b"hush")
    assert (found.redirect, found.scopes, found.groups_claim) == (
        GOOD["redirect"],
        "openid profile email",
        "groups",
    )
    assert found.grants == (
        GroupGrant("/gateway/owners", "owner", "*"),
        GroupGrant("CN=ops", "operator", "team:cards"),
    )
    assert found.second_factor == "provider"
    assert "hush" not in repr(found)
    assert _managing(Gateway()).sign_in is None


def test_this_machine_may_be_the_provider_in_clear() -> None:
    assert read(
        issuer="http://localhost:8180/realms/x", redirect="http://127.0.0.1:9090/sign-in/oidc/callback"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "http://id.bank.example"},
        {"issuer": "https://user:secret@id.bank.example"},
        {"issuer": "https://id.bank.example?x=y"},
        {"issuer": "https://id.bank.example#x"},
        {"issuer": "ftp://id.bank.example"},
        {"issuer": "https://"},
        {"issuer": None},
        {"client_id": ""},
        {"client_secret": None},
        {"redirect": "http://gateway.bank.example/sign-in/oidc/callback"},
        {"redirect": "https://gateway.bank.example/elsewhere"},
        {"redirect": "https://gateway.bank.example/sign-in/oidc/callback?x"},
        {"scopes": "profile"},
        {"scopes": "openid  profile"},
        {"groups_claim": ""},
        {"grants": {}},
        {"grants": {"staff": []}},
        {"grants": {"staff": [{"role": "admin"}]}},
        {"grants": {"staff": [{"role": "viewer", "scope": "everything"}]}},
        {"grants": {"": [{"role": "viewer"}]}},
        {"grants": {"staff": [{"role": "viewer"}] * 101}},
        {"second_factor": "none"},
        {"tenant": "x"},
    ],
    ids=str,
)
def test_what_it_may_not_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        read(**wrong)
    assert "hush" not in str(raised.value)
