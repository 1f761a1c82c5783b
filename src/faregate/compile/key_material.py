"""What an issuer's tokens are checked with: exactly one of key set and secret, algorithms that fit it, a
sound file.

A key set file is read here and travels inside the snapshot, so that what was checked is what runs. The
judgement over its content is the data plane's own (``stores.jwk``): what passes here does not fail in a
worker.
"""

import os
from typing import Final

from faregate.compile.walk import ANY, mapping, matches, sequence
from faregate.model.diagnostics import Findings, TreePath, Value
from faregate.model.interpolate import Unfilled
from faregate.model.managed import escapes
from faregate.model.tree import Tree
from faregate.policies.jwt.settings import ASYMMETRIC, SECRET_BYTES_MIN

KEY_SET_BYTES_MAX: Final = 1 << 20

_KEY_SET_REASONS: Final = {
    "key_set_malformed": "not a JSON object with a list of `keys`",
    "too_many_keys": "too many keys",
    "no_usable_key": "no key that serves the issuer's algorithms",
    "kid_missing": "several keys, one of them without `kid`",
    "kid_malformed": "a `kid` that is not printable ASCII text",
    "kid_twice": "two keys with the same `kid`",
    "algorithm_mismatch": "a key whose `alg` does not fit its type",
}


def resolve(tree: Tree, path: TreePath, name: str) -> str:
    """The absolute form of a file name that stands at ``path``; empty, and so no file, where it leads out of
    the folder that its owner may name files in (``model.managed`` reports that).
    """
    source = tree.owner(path)
    if source.below and escapes(name):
        return ""
    return os.path.abspath(source.path.parent / name)  # noqa: PTH100 - does not follow links


def check_issuers(tree: Tree, findings: Findings) -> dict[str, bytes]:
    """Checks all issuers and returns the content of their key set files by issuer name."""
    key_sets: dict[str, bytes] = {}
    for path, entry in matches(tree.data, ("issuers", ANY)):
        issuer = mapping(entry)
        if not isinstance(entry, dict):
            continue
        algorithms = tuple(name for name in sequence(issuer.get("algorithms")) if isinstance(name, str))
        jwks, secret = issuer.get("jwks"), issuer.get("secret")
        if ("jwks" in issuer) == ("secret" in issuer):
            message = "both `jwks` and `secret`" if "jwks" in issuer else "neither `jwks` nor `secret`"
            code = "bad_value" if "jwks" in issuer else "missing_key"
            findings.add(code, path, f"the issuer has {message}", expected="exactly one of jwks and secret")
        elif isinstance(secret, str):
            _check_secret(path, secret, algorithms, findings)
        elif isinstance(jwks, str):
            _check_fit(path, algorithms, ASYMMETRIC, "a key set", findings)
            content = _key_set(tree, (*path, "jwks"), jwks, algorithms, findings)
            if content is not None:
                key_sets[str(path[1])] = content
        if "tls" in issuer:
            _check_ca(tree, path, issuer, findings)
    return key_sets


def _check_fit(
    path: TreePath, algorithms: tuple[str, ...], fitting: tuple[str, ...], noun: str, findings: Findings
) -> None:
    known = (*ASYMMETRIC, *SECRET_BYTES_MIN)
    for index, algorithm in enumerate(algorithms):
        if algorithm in known and algorithm not in fitting:
            message = f"{algorithm} does not work with {noun}"
            findings.add(
                "algorithm_mismatch",
                (*path, "algorithms", index),
                message,
                expected=f"one of {', '.join(fitting)}",
            )


def _check_secret(path: TreePath, secret: str, algorithms: tuple[str, ...], findings: Findings) -> None:
    _check_fit(path, algorithms, tuple(SECRET_BYTES_MIN), "a secret", findings)
    needed = max((SECRET_BYTES_MIN.get(algorithm, 0) for algorithm in algorithms), default=0)
    if len(secret.encode()) < needed and not isinstance(secret, Unfilled):
        message = f"the secret is shorter than the {needed} bytes that its algorithm needs"
        findings.add("weak_secret", (*path, "secret"), message, expected=f"at least {needed} random bytes")


def _key_set(
    tree: Tree, path: TreePath, jwks: str, algorithms: tuple[str, ...], findings: Findings
) -> bytes | None:
    if isinstance(jwks, Unfilled) or jwks.startswith("https://"):
        return None
    if "://" in jwks:
        findings.add(
            "bad_value",
            path,
            "a key set is fetched over https:// only",
            expected="a file, or an https:// URL",
        )
        return None
    content = _read(resolve(tree, path, jwks), path, findings)
    if content is None:
        return None
    from faregate.stores.jwk import KeySetError, parse_key_set  # noqa: PLC0415 - brings cryptography, which takes its time

    try:
        parse_key_set(content, tuple(name for name in algorithms if name in ASYMMETRIC) or ASYMMETRIC)
    except KeySetError as error:
        reason = str(error)
        if reason == "private_key_published" or b"PRIVATE KEY-----" in content:  # PEM is no key set at all
            message = "the key set holds a private or symmetric key"
            findings.add(
                "private_key", path, message, expected="public keys only; take the file out of circulation"
            )
        else:
            findings.add(
                "bad_key_set",
                path,
                _KEY_SET_REASONS.get(reason, "not usable"),
                expected="a JSON Web Key Set (RFC 7517)",
            )
        return None
    return content


def _read(name: str, path: TreePath, findings: Findings) -> bytes | None:
    try:
        with open(name, "rb") as file:  # noqa: PTH123 - the name is resolved text
            content = file.read(KEY_SET_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        findings.add(
            "file_missing", path, f"the file cannot be read: {getattr(error, 'strerror', None) or 'bad name'}"
        )
        return None
    if len(content) > KEY_SET_BYTES_MAX:
        findings.add("too_large", path, f"the file is larger than {KEY_SET_BYTES_MAX >> 20} MiB")
        return None
    return content


def _check_ca(tree: Tree, path: TreePath, issuer: dict[str, Value], findings: Findings) -> None:
    ca, jwks = mapping(issuer.get("tls")).get("ca"), issuer.get("jwks")
    if not isinstance(jwks, str) or not jwks.startswith("https://"):
        findings.add("bad_value", (*path, "tls"), "`tls` has no use without an https:// key set", at_key=True)
    elif isinstance(ca, str) and not isinstance(ca, Unfilled):
        _read(resolve(tree, (*path, "tls", "ca"), ca), (*path, "tls", "ca"), findings)
