"""Which certificate credentials can ever be proved: those that a listener asks for and trusts the signer of.

The handshake trusts the listeners' authorities alone, so a credential that names another one is dead letters:
its owner is refused before anything here is asked. That harms nobody but the owner, so it is a warning. An
intermediate may lie between what a credential names and what a listener trusts without being in any file;
only what is certainly out of reach is told of.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from faregate.model.diagnostics import Findings, TreePath

if TYPE_CHECKING:
    from faregate.stores.certificates import Authorities

WANTED: Final = "client_certificates: {mode: optional, ca: FILE} on a listener with `tls`"
Names = Mapping[bytes, tuple[bytes, bytes]]
"""Subject and issuer of certificates, by digest."""


class Use:
    """What the listeners ask for. ``asks``: whether any wants certificates; ``accepted``: whether an API
    takes them.
    """

    def __init__(self) -> None:
        self.asks = False
        self.accepted = False
        self._trusted: dict[bytes, tuple[bytes, bytes]] = {}
        self._all_read = True

    def trusts(self, authorities: "Authorities | None") -> None:
        """A listener asks for certificates that these have signed; None: its file has an error of its own."""
        self.asks = True
        if authorities is None:
            self._all_read = False
        else:
            self._trusted.update(authorities.names)

    def judge(self, path: TreePath, named: "Authorities | None", findings: Findings) -> None:
        """Warns of the credential at ``path`` if it can never be proved. ``named``: what its `ca` holds; None
        for a fingerprint, whose signer is not known here.
        """
        if not self.asks:
            message = "no listener asks for client certificates: nobody can prove this one"
            findings.add("unprovable_credential", path, message, expected=WANTED)
            return
        if not self.accepted:
            message = "no API accepts client certificates: nobody can call with this one"
            findings.add("unprovable_credential", path, message, expected="`mtls` in an API's `authenticate`")
            return
        if named is not None and not named.sign:
            message = "none of these certificates is an authority's: they sign nobody's"
            expected = "the certificate of who signs the callers', or `sha256` of a caller's own"
            findings.add("unprovable_credential", (*path, "ca"), message, expected=expected)
            return
        if named is None or not self._all_read or reaches(named.names, self._trusted):
            return
        message = "no listener trusts this authority: handshakes with its certificates fail"
        expected = "the same certificates in `client_certificates.ca` of a listener, or another `ca`"
        findings.add("unprovable_credential", (*path, "ca"), message, expected=expected)


def reaches(named: Names, trusted: Names) -> bool:
    """Whether a certificate signed by one of ``named`` may be one that a trusted authority vouches for."""
    known = {**trusted, **named}
    by_subject: dict[bytes, set[bytes]] = {}
    for digest, (subject, _) in known.items():
        by_subject.setdefault(subject, set()).add(digest)
    waiting, seen = set(named), set[bytes]()
    while waiting:
        digest = waiting.pop()
        seen.add(digest)
        if digest in trusted:
            return True
        subject, issuer = known[digest]
        if subject == issuer:
            continue  # a root: nobody above it
        above = by_subject.get(issuer)
        if not above:
            return True  # an intermediate of who is in no file may be below a trusted one
        waiting |= above - seen
    return False
