"""``faregate token``: a JWT for development, as one of the configured issuers would make it.

The issuer's entry in the configuration gives ``iss``, ``aud``, the consumer claim and, for HS algorithms, the
secret; for all others the developer brings the private key (``--key``) or has a pair made (``--new-key``).
The token alone goes to standard output, so that it can be used in place; hints go to standard error. Exit
status 1: no token could be made; 2: wrong usage.
"""

import json as json_text
import os
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from faregate.cli.errors import CommandError
from faregate.kernel.units import parse_duration_ms

if TYPE_CHECKING:
    from faregate.cli.signing import PrivateKey
    from faregate.snapshot.data import Issuer, Snapshot

EXPIRES_S_MAX: Final = 366 * 86400


def command(  # noqa: PLR0913, PLR0917 - one argument an option, given by name
    issuer: Annotated[str, typer.Option(help="The issuer's name in the configuration.")] = "",
    subject: Annotated[
        str, typer.Option(help="The consumer's subject; may be left out if there is one.")
    ] = "",
    config: Annotated[Path, typer.Option(help="The configuration file.")] = Path("faregate.yaml"),
    scope: Annotated[str, typer.Option(help="Words that narrow the consumer's permissions.")] = "",
    expires: Annotated[str, typer.Option(help="Lifetime, up to 366d: 10m, 1h, 30d.")] = "1h",
    algorithm: Annotated[str, typer.Option(help="Default: the issuer's first that fits the key.")] = "",
    key: Annotated[Path | None, typer.Option(help="The private key, PEM.")] = None,
    new_key: Annotated[
        Path | None, typer.Option("--new-key", help="Make a development key pair in this folder.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Make a JWT for development, or a key pair to sign such tokens with."""
    if new_key is None and not issuer:
        _fail("--issuer names whose token to make; --new-key DIR makes a key pair", 2)
    if key is not None and new_key is not None:
        _fail("--key and --new-key exclude each other", 2)
    lifetime_s = _lifetime_s(expires)
    made = None if new_key is None else _make_key(new_key, algorithm)
    told: dict[str, object] = {} if made is None else {"key": str(made[0]), "jwks": str(made[1])}
    if made is not None and not json:
        print(f"private key {made[0]}, key set {made[1]}", file=sys.stderr if issuer else sys.stdout)
    if issuer:
        snapshot = _snapshot(config)
        entry = _find_issuer(snapshot, issuer)
        subject = subject or _only_subject(snapshot, entry)
        path = key if made is None else made[0]
        chosen, signing_key, kid, in_set = _choose_key(entry, path, algorithm)
        claims = _claims(entry, subject, scope, lifetime_s)
        from faregate.cli.signing import encode_token

        text = encode_token(claims, chosen, signing_key, kid)
        hints = _hints(snapshot, entry, subject, in_set=in_set)
        told |= {"token": text, "algorithm": chosen, "kid": kid or None, "claims": claims, "hints": hints}
        if not json:
            for hint in hints:
                print(f"faregate: {hint}", file=sys.stderr)
            print(text)
    if json:
        print(json_text.dumps(told))


def _lifetime_s(text: str) -> int:
    try:
        lifetime_ms = parse_duration_ms(text)
    except ValueError as error:
        _fail(f"--expires: {error}", 2)
    if not 1000 <= lifetime_ms <= EXPIRES_S_MAX * 1000:
        _fail("--expires: between 1s and 366d", 2)
    return lifetime_ms // 1000


def _make_key(folder: Path, algorithm: str) -> tuple[Path, Path]:
    from faregate.cli import signing

    name = algorithm or "ES256"
    if name not in signing.ALGORITHMS:
        _fail(f"--algorithm: keys are made for {', '.join(signing.ALGORITHMS)}", 2)
    try:
        return signing.write_key_pair(folder, signing.new_key(name), name)
    except signing.KeyFileError as error:
        _fail(str(error))


def _snapshot(config: Path) -> "Snapshot":
    from faregate.compile.compiler import compile_config
    from faregate.model.load import load
    from faregate.model.report import as_text

    loaded = load(config, os.environ)
    snapshot, diagnostics = compile_config(loaded, 0)
    if snapshot is None:
        raise CommandError(
            f"{config} has errors",
            before=as_text(diagnostics, loaded.tree.sources),
            facts={"diagnostics": [diagnostic.as_json() for diagnostic in diagnostics]},
        )
    return snapshot


def _find_issuer(snapshot: "Snapshot", name: str) -> "Issuer":
    for issuer in snapshot.issuers:
        if issuer.name == name:
            return issuer
    names = ", ".join(issuer.name for issuer in snapshot.issuers)
    raise CommandError(f"no issuer is named `{name}`; there are: {names or 'none'}")


def _subjects(snapshot: "Snapshot", issuer: "Issuer") -> list[str]:
    from faregate.snapshot.data import JwtCredential

    return [
        credential.subject
        for consumer in snapshot.consumers
        for credential in consumer.credentials
        if isinstance(credential, JwtCredential) and credential.issuer == issuer.name
    ]


def _only_subject(snapshot: "Snapshot", issuer: "Issuer") -> str:
    subjects = _subjects(snapshot, issuer)
    if len(subjects) != 1:
        some = ", ".join(subjects[:5]) + (", ..." if len(subjects) > 5 else "")
        _fail(f"--subject is needed; consumers of {issuer.name} are: {some or 'none'}", 2)
    return subjects[0]


def _hints(snapshot: "Snapshot", issuer: "Issuer", subject: str, *, in_set: bool) -> list[str]:
    """Why the gateway would refuse the token, if it would."""
    hints = []
    if not in_set:
        hints.append(f"the key is not in the key set of {issuer.name}: the gateway will refuse this token")
    if subject not in _subjects(snapshot, issuer):
        hints.append(f"no consumer owns {subject!r}: the gateway will refuse this token")
    return hints


def _choose_key(
    issuer: "Issuer", path: Path | None, algorithm: str
) -> "tuple[str, PrivateKey | bytes, str, bool]":
    """Algorithm, key and kid to sign with, and whether the gateway knows the key."""
    from faregate.cli import signing

    if algorithm and algorithm not in issuer.algorithms:
        _fail(f"{issuer.name} accepts {', '.join(issuer.algorithms)}, not {algorithm}")
    if issuer.secret is not None:
        if path is not None:
            _fail(f"{issuer.name} has a secret; no key is needed", 2)
        return algorithm or issuer.algorithms[0], issuer.secret, "", True
    if path is None:
        _fail("--key names the private key to sign with; --new-key DIR makes one", 2)
    try:
        key = signing.read_key(path)
    except signing.KeyFileError as error:
        _fail(str(error))
    able = signing.algorithms_of(key)
    fitting = [name for name in ([algorithm] if algorithm else issuer.algorithms) if name in able]
    if not fitting:
        _fail(f"the key signs {', '.join(able)}; wanted: {algorithm or ', '.join(issuer.algorithms)}")
    kid = None if issuer.jwks is None else signing.kid_in(issuer.jwks, key)
    in_set = kid is not None or issuer.jwks is None  # a key set at a URL is not fetched here
    return fitting[0], key, signing.thumbprint(key) if kid is None else kid, in_set


def _claims(issuer: "Issuer", subject: str, scope: str, lifetime_s: int) -> dict[str, object]:
    now = int(time.time())
    claims: dict[str, object] = {"iss": issuer.issuer, "sub": subject, "aud": issuer.audience[0]}
    claims[issuer.consumer_claim] = subject
    claims |= {"iat": now, "exp": now + lifetime_s, "jti": secrets.token_hex(16)}
    if scope:
        claims["scope"] = scope
    return claims


def _fail(message: str, status: int = 1) -> NoReturn:
    raise CommandError(message, status)
