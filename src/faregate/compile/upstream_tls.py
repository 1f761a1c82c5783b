"""What ``upstreams.<name>.tls`` names: files that are there, are what they should be, and fit each other.

The same library that the data plane uses reads them here, so that what passes does not fail in a worker. The
files stay where they are: a worker reads them when it first connects, and again when they change, and no key
enters a snapshot. ``verify: false`` is taken, as a warning that stays.
"""

import ssl
from pathlib import Path

from faregate.compile.key_material import resolve
from faregate.compile.walk import ANY, mapping, matches, sequence
from faregate.model.diagnostics import Findings, TreePath, Value
from faregate.model.interpolate import Unfilled
from faregate.model.tree import Tree
from faregate.model.upstreams import Upstream
from faregate.snapshot import data


def check_upstream_tls(tree: Tree, findings: Findings) -> None:
    """Reports what is wrong with the TLS settings of every upstream."""
    for path, entry in matches(tree.data, ("upstreams", ANY)):
        upstream = mapping(entry)
        settings = upstream.get("tls")
        if not isinstance(settings, dict):
            continue
        place: TreePath = (*path, "tls")
        if not any(_is_https(target) for target in sequence(upstream.get("targets"))):
            message = "`tls` has no use without an https:// target"
            findings.add(
                "unused_tls", place, message, expected="targets that begin with https://", at_key=True
            )
        _check_authorities(tree, place, settings, findings)
        _check_certificate(tree, place, settings, findings)
        if settings.get("verify") in (False, "false"):
            message = f"the servers of `{path[1]}` are not verified: whoever stands between can read and pay"
            findings.add(
                "unverified_upstream",
                (*place, "verify"),
                message,
                expected="`ca`, with the authority of those servers",
            )


def upstream_tls(tree: Tree, name: str, declared: Upstream) -> data.UpstreamTls:
    """The settings with every path absolute."""
    tls = declared.tls
    if tls is None:
        return data.UpstreamTls()

    def path_of(key: str, written: str | None) -> str:
        return resolve(tree, ("upstreams", name, "tls", key), written) if written else ""

    return data.UpstreamTls(
        ca=path_of("ca", tls.ca),
        certificate=path_of("certificate", tls.certificate),
        key=path_of("key", tls.key),
        server_name=tls.server_name or "",
        verify=tls.verify,
    )


def _is_https(target: Value) -> bool:
    url = target.get("url") if isinstance(target, dict) else target
    return isinstance(url, str) and (isinstance(url, Unfilled) or url.startswith("https://"))


def _check_authorities(tree: Tree, place: TreePath, settings: dict[str, Value], findings: Findings) -> None:
    path: TreePath = (*place, "ca")
    name = _readable(tree, path, settings.get("ca"), findings)
    if "ca" in settings and settings.get("verify") in (False, "false"):
        findings.add("bad_value", path, "`ca` has no use with `verify: false`", at_key=True)
    if not name:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=name)
    except (OSError, ValueError):
        findings.add(
            "bad_certificate",
            path,
            f"{name}: not a file of certificates",
            expected="certificates in PEM form",
        )
        return
    if not context.cert_store_stats()["x509_ca"]:
        message = f"{name}: no certificate in the file is an authority's"
        findings.add("bad_certificate", path, message, expected="the certificate that signs the servers' own")


def _check_certificate(tree: Tree, place: TreePath, settings: dict[str, Value], findings: Findings) -> None:
    path: TreePath = (*place, "certificate")
    chain = _readable(tree, path, settings.get("certificate"), findings)
    key = _readable(tree, (*place, "key"), settings.get("key"), findings)
    if "key" in settings and "certificate" not in settings:
        findings.add("missing_key", place, "`key` without `certificate`", expected="both")
        return
    if not chain or ("key" in settings and not key):
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_cert_chain(chain, key or None, password=_no_pass_phrase)
    except ssl.SSLError as error:
        # The reason is one of OpenSSL's own words; nothing of the files is repeated.
        apart = "KEY_VALUES_MISMATCH" in (error.reason or "")
        fault = "the key is not this certificate's" if apart else "not a certificate with its key"
        message = f"{chain}, {key or 'its key in it'}: {fault}"
        findings.add("bad_certificate", path, message, expected="a certificate chain and its key in PEM form")
    except (OSError, ValueError):
        message = f"{key or chain}: the key cannot be read, or has a pass phrase"
        findings.add("bad_certificate", path, message, expected="a key in PEM form without pass phrase")


def _readable(tree: Tree, path: TreePath, written: Value, findings: Findings) -> str:
    """The file's absolute path, or empty when it is not written, or reported as not readable."""
    if not isinstance(written, str) or isinstance(written, Unfilled):
        return ""
    name = resolve(tree, path, written)
    try:
        with Path(name).open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "bad name"
        findings.add("file_missing", path, f"{name}: the file cannot be read: {why}")
        return ""
    return name


def _no_pass_phrase() -> str:
    raise ValueError("the key has a pass phrase")
