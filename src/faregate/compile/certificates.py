"""What TLS listeners and certificate credentials name: files that are there, sound, in time, and fit.

A missing option or an empty file is an error, for it must never come to mean that nobody is asked for a
certificate (http-rules.md section 5). The judgement is that of ``stores.certificates``, which workers use as
well; what stands in a credential's authority file travels in the snapshot as digests, keys stay in files.
"""

from collections.abc import Callable
from math import ceil
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from faregate.compile.certificate_use import WANTED as WANTED_ASKING
from faregate.compile.certificate_use import Use
from faregate.compile.key_material import resolve
from faregate.compile.walk import ANY, mapping, matches, sequence, value_at
from faregate.model.diagnostics import Findings, TreePath, Value
from faregate.model.gateway import ListenerTls
from faregate.model.interpolate import Unfilled
from faregate.model.tree import Tree
from faregate.snapshot import data

if TYPE_CHECKING:
    from faregate.stores.certificates import Authorities

T = TypeVar("T")

SOON_DAYS: Final = 30
_DAY_S: Final = 86_400
READABLE: Final = (
    "a file that the gateway's user may read; paths count from the folder of the file they stand in"
)
WANTED: Final = {
    "chain": "the server's certificate, then those that sign it, in PEM form",
    "key": "the private key of the first certificate in `chain`, in PEM form, without passphrase",
    "ca": "the certificates of those who may sign, in PEM form",
    "crl": "a revocation list of each authority, in PEM form",
}
"""What to put in the place of a file that does not fit."""


Credentials: TypeAlias = dict[tuple[str, int], data.MtlsCredential]
"""Certificate credentials by consumer and place in its list."""


def check_certificates(tree: Tree, wall: float, findings: Findings) -> Credentials:
    """Checks every listener and credential; ``wall``: seconds since the epoch."""
    check = _Check(tree, wall, findings)
    for path, entry in matches(tree.data, ("gateway", "listen", ANY, "tls")):
        check.listener(path, mapping(entry))
    check.use.accepted = not tree.data.get("apis")  # where nothing is published yet, nobody is told
    for path, entry in matches(tree.data, ("apis", ANY, "authenticate", ANY)):
        if entry == "mtls":
            check.use.accepted = True
        if entry == "mtls" and not check.use.asks:
            message = "no listener asks for client certificates"
            findings.add("bad_value", path, message, expected=WANTED_ASKING)
    credentials: Credentials = {}
    owners: dict[object, list[tuple[frozenset[bytes], TreePath]]] = {}
    for path, entry in matches(tree.data, ("consumers", ANY, "credentials", ANY, "mtls")):
        made, named = check.credential(path, mapping(entry))
        if made is None:
            continue
        check.use.judge(path, named, findings)
        credentials[str(path[1]), int(path[3])] = made
        if made.subject:  # names that are written in two ways may be one; conflicts looks at the text alone
            signers = frozenset(made.authorities)
            for others, place in owners.setdefault(made.subject, []):
                if not signers.isdisjoint(others):
                    message = "two credentials have the same subject and an authority in common"
                    findings.add("duplicate_credential", (*path, "subject"), message, other=place)
            owners[made.subject].append((signers, (*path, "subject")))
    return credentials


def listener_tls(tree: Tree, index: int, declared: ListenerTls | None) -> data.ListenerTls | None:
    """A listener's settings with every path absolute."""
    if declared is None:
        return None
    path: TreePath = ("gateway", "listen", index, "tls")
    clients = declared.client_certificates
    asked = clients is not None and clients.mode != "none"
    return data.ListenerTls(
        certificates=tuple(
            data.ServerCertificate(
                resolve(tree, (*path, "certificates", number, "chain"), one.chain),
                resolve(tree, (*path, "certificates", number, "key"), one.key),
            )
            for number, one in enumerate(declared.certificates)
        ),
        client_mode="none" if clients is None else clients.mode,
        client_ca=resolve(tree, (*path, "client_certificates", "ca"), clients.ca)
        if clients is not None and asked and clients.ca
        else "",
        client_crl=resolve(tree, (*path, "client_certificates", "crl"), clients.crl)
        if clients is not None and asked and clients.crl
        else "",
    )


class _Check:
    """The walk over all places; what it reads twice it reads once."""

    def __init__(self, tree: Tree, wall: float, findings: Findings) -> None:
        self._tree = tree
        self._wall = wall
        self._findings = findings
        self._named: dict[str, set[str]] = {}  # authority files of listeners, by the name without its ending
        self._authorities: dict[str, Authorities | None] = {}
        self.use = Use()

    def listener(self, path: TreePath, tls: dict[str, Value]) -> None:
        for number, entry in enumerate(sequence(tls.get("certificates"))):
            self._server((*path, "certificates", number), mapping(entry), first=number == 0)
        if "client_certificates" in tls:
            self._clients((*path, "client_certificates"), mapping(tls["client_certificates"]))

    def _server(self, path: TreePath, entry: dict[str, Value], *, first: bool) -> None:
        from faregate.stores.certificates import check_key, read_chain, read_file, try_out  # noqa: PLC0415 - brings cryptography, which takes its time

        chain, key = self._file((*path, "chain"), entry), self._file((*path, "key"), entry)
        if not chain or not key:
            return
        content = self._made((*path, "chain"), lambda: read_file(chain))
        served = None if content is None else self._made((*path, "chain"), lambda: read_chain(content))
        secret = self._made((*path, "key"), lambda: read_file(key))
        if content is None or served is None or secret is None:
            return
        before = len(self._findings.pending)
        self._made((*path, "key"), lambda: check_key(content, secret))
        if len(self._findings.pending) == before:
            self._made((*path, "chain"), lambda: try_out(chain, key))
        self._end((*path, "chain"), served.ends, served.begins)
        if not served.names and not first:
            message = "the certificate has no DNS name: no caller can ask for it"
            self._findings.add(
                "bad_certificate", (*path, "chain"), message, expected="a subject alternative name"
            )

    def _clients(self, path: TreePath, entry: dict[str, Value]) -> None:
        from faregate.stores.certificates import read_file, read_revocations  # noqa: PLC0415

        if entry.get("mode") == "none":
            for name in ("ca", "crl"):
                if name in entry:
                    self._findings.add(
                        "bad_value", (*path, name), f"`{name}` has no use with `mode: none`", at_key=True
                    )
            return
        if "ca" not in entry:
            self.use.trusts(None)
            message = "certificates are asked for, but nobody is named who may sign them"
            self._findings.add("missing_key", path, message, expected="ca: FILE")
            return
        ca = self._file((*path, "ca"), entry)
        authorities = self._read_authorities((*path, "ca"), ca)
        self.use.trusts(authorities)
        if ca:
            self._named.setdefault(PurePath(ca).stem, set()).add(ca)
        crl = self._file((*path, "crl"), entry)
        if not crl:
            return
        content = self._made((*path, "crl"), lambda: read_file(crl))
        lists = None if content is None else self._made((*path, "crl"), lambda: read_revocations(content))
        if lists is None:
            return
        self._end((*path, "crl"), lists.ends)
        if authorities is not None and not authorities.subjects <= lists.issuers:
            message = "an authority of `ca` has no list here: every certificate of it would be refused"
            self._findings.add("bad_certificate", (*path, "crl"), message, expected="a list of each of them")

    def credential(
        self, path: TreePath, entry: dict[str, Value]
    ) -> "tuple[data.MtlsCredential | None, Authorities | None]":
        """With whom it names as signers. None when it has errors, which are reported here or with its
        shape.
        """
        fingerprint, subject, ca = entry.get("sha256"), entry.get("subject"), entry.get("ca")
        if isinstance(fingerprint, str) and not isinstance(fingerprint, Unfilled):
            try:
                digest = bytes.fromhex(fingerprint.replace(":", ""))
            except ValueError:
                return None, None
            return data.MtlsCredential(f"mtls:sha256:{digest.hex()[:16]}", sha256=digest), None
        if not isinstance(subject, str) or not isinstance(ca, str) or isinstance(subject, Unfilled):
            return None, None
        from faregate.stores.certificates import read_subject  # noqa: PLC0415

        try:
            parts = read_subject(subject)
        except ValueError as error:
            self._findings.add(
                "bad_value", (*path, "subject"), str(error), expected='a name such as "CN=acme, O=Acme Ltd"'
            )
            return None, None
        authorities = self._read_authorities((*path, "ca"), self._authority_file((*path, "ca"), ca, entry))
        if authorities is None:
            return None, None
        digests = tuple(sorted(authorities.digests))
        return data.MtlsCredential(f"mtls:{subject}", subject=parts, authorities=digests), authorities

    def _authority_file(self, path: TreePath, ca: str, entry: dict[str, Value]) -> str:
        """``partners`` is the listeners' authority file of that name, whatever its ending; else a path."""
        known = self._named.get(ca, set())
        if len(known) > 1:
            message = "two listeners have different authority files of this name"
            self._findings.add("bad_value", path, message, expected="the path of one of them")
            return ""
        return next(iter(known)) if known else self._file(path, entry)

    def _read_authorities(self, path: TreePath, name: str) -> "Authorities | None":
        from faregate.stores.certificates import read_authorities, read_file, try_out  # noqa: PLC0415

        if not name:
            return None
        if name not in self._authorities:
            content = self._made(path, lambda: read_file(name))
            found = None if content is None else self._made(path, lambda: read_authorities(content))
            if found is not None:
                self._made(path, lambda: try_out("", "", ca=name))
                self._end(path, found.ends)
            self._authorities[name] = found
        return self._authorities[name]

    def _file(self, path: TreePath, entry: dict[str, Value]) -> str:
        """The absolute path of what is written at ``path``; empty for what has an error of its own."""
        written = entry.get(str(path[-1]))
        if not isinstance(written, str) or isinstance(written, Unfilled) or not written:
            return ""
        return resolve(self._tree, path, written)

    def _name(self, path: TreePath) -> str:
        """The file written at ``path``, in full: the line may be shown masked, and a path is no secret."""
        return self._file(path, mapping(value_at(self._tree.data, path[:-1])))

    def _made(self, path: TreePath, make: Callable[[], T]) -> T | None:
        from faregate.stores.certificates import CertificateFault  # noqa: PLC0415

        try:
            return make()
        except CertificateFault as fault:
            missing = str(fault).startswith("the file cannot be read")
            code = "file_missing" if missing else "bad_certificate"
            wanted = READABLE if missing else WANTED[str(path[-1])]
            self._findings.add(code, path, f"{self._name(path)}: {fault}", expected=wanted)
            return None

    def _end(self, path: TreePath, ends: float, begins: float = 0.0) -> None:
        from faregate.stores.certificates import shown  # noqa: PLC0415

        left_s = ends - self._wall
        if left_s <= 0:
            when = f"ended {shown(ends)}" if ends else "has no end, which counts as ended"
            message = f"{self._name(path)}: what is in this file {when}: handshakes that rest on it fail"
            self._findings.add("certificate_expired", path, message, expected="a renewed file")
        elif begins > self._wall:
            when = f"is not valid before {shown(begins)}"
            message = f"{self._name(path)}: the certificate {when}: handshakes fail until then"
            expected = "a certificate that is valid now, and a clock of this machine that is right"
            self._findings.add("certificate_expired", path, message, expected=expected)
        elif left_s <= SOON_DAYS * _DAY_S and path[-1] != "crl":
            days = ceil(left_s / _DAY_S)
            within = f"{days} day{'' if days == 1 else 's'}"
            message = f"{self._name(path)}: a certificate in this file ends within {within}, {shown(ends)}"
            self._findings.add("certificate_expires", path, message, expected="a renewed file before then")
