"""Signed notes and checkpoints, as C2SP's signed-note and tlog-checkpoint have them, with Ed25519.

A checkpoint says in three lines whose tree it is, how many leaves it has and what its root is; the signature
below says by whom. It is what an auditor keeps: every later tree must contain what it stands for.
"""

import base64
import binascii
from collections.abc import Iterable
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from faregate.records.audit.merkle import HASH_BYTES

SIGNATURES_MAX: Final = 100
NOTE_BYTES_MAX: Final = 64 << 10
SIZE_MAX: Final = (1 << 63) - 1
_ED25519: Final = b"\x01"
_KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
_DASH: Final = "— "
_PRIVATE: Final = "PRIVATE+KEY"


class NoteError(Exception):
    """A note, a checkpoint or a key is none, or is not signed as it must be. The message says what is
    wrong.
    """


class Checkpoint(NamedTuple):
    """What is signed: of ``origin``'s tree, its ``size`` and ``root``."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def is_name(text: str) -> bool:
    """Whether ``text`` can name a key: no spaces, no ``+``, nothing that does not show."""
    return bool(text) and text.isprintable() and "+" not in text and not any(one.isspace() for one in text)


def _key_id(name: str, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_ID_BYTES]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("not base64") from None


class Verifier:
    """A public key by which notes are checked."""

    __slots__ = ("_key", "id", "name", "public")

    def __init__(self, name: str, public: bytes) -> None:
        self.name = name
        self.public = public
        self.id = _key_id(name, public)
        self._key = Ed25519PublicKey.from_public_bytes(public)

    @classmethod
    def read(cls, line: str) -> "Verifier":
        """From ``name+id+base64``. Raises ``NoteError``."""
        name, _, rest = line.strip().partition("+")
        identifier, _, encoded = rest.partition("+")
        if not is_name(name) or not encoded:
            raise NoteError("not a verifier key: name+id+key is expected")
        key = _decoded(encoded)
        if key[:1] != _ED25519 or len(key) != 1 + _KEY_BYTES:
            raise NoteError("not an Ed25519 verifier key")
        verifier = cls(name, key[1:])
        if verifier.id.hex() != identifier.lower():
            raise NoteError("the verifier key's id is not that of its name and key")
        return verifier

    @property
    def line(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    def accepts(self, text: str, signature: bytes) -> bool:
        try:
            self._key.verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


class Signer:
    """A private key. Never shown: its text is ``line``, for its own file alone."""

    __slots__ = ("_private", "verifier")

    def __init__(self, name: str, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, self._private.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"Signer({self.verifier.name!r}, ***)"

    @classmethod
    def read(cls, line: str) -> "Signer":
        """From what ``line`` wrote. Raises ``NoteError``."""
        begin, private, name, identifier, encoded = (*line.strip().split("+", 4), "", "", "", "")[:5]
        if f"{begin}+{private}" != _PRIVATE or not is_name(name):
            raise NoteError("not a signing key")
        key = _decoded(encoded)
        if key[:1] != _ED25519 or len(key) != 1 + _KEY_BYTES:
            raise NoteError("not an Ed25519 signing key")
        signer = cls(name, key[1:])
        if signer.verifier.id.hex() != identifier:
            raise NoteError("the signing key is not whole")
        return signer

    @property
    def line(self) -> str:
        verifier = self.verifier
        seed = base64.b64encode(_ED25519 + self._private.private_bytes_raw()).decode()
        return f"{_PRIVATE}+{verifier.name}+{verifier.id.hex()}+{seed}"

    def signed(self, text: str) -> str:
        """The note of ``text``, which ends with a newline."""
        verifier = self.verifier
        signature = base64.b64encode(verifier.id + self._private.sign(text.encode())).decode()
        return f"{text}\n{_DASH}{verifier.name} {signature}\n"


def opened(note: str, verifiers: Iterable[Verifier]) -> str:
    """The text of ``note``, signed by one of ``verifiers``; signatures of others are passed over. Raises
    ``NoteError``, also where one of theirs does not hold.
    """
    if len(note) > NOTE_BYTES_MAX or any(one < " " and one != "\n" for one in note):
        raise NoteError("not a note: too long, or with control characters")
    at = note.rfind("\n\n")
    if at < 0 or not note.endswith("\n"):
        raise NoteError("not a note: no signatures below an empty line")
    text, lines = note[: at + 1], note[at + 2 : -1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise NoteError(f"a note of more than {SIGNATURES_MAX} signatures")
    known = {(verifier.name, verifier.id): verifier for verifier in verifiers}
    held = False
    for line in lines:
        if not line.startswith(_DASH):
            raise NoteError("not a note: a line below the text is no signature")
        name, _, encoded = line[len(_DASH) :].partition(" ")
        signature = _decoded(encoded)
        if not is_name(name) or len(signature) <= _ID_BYTES:
            raise NoteError("not a note: a signature is broken")
        verifier = known.get((name, signature[:_ID_BYTES]))
        if verifier is None:
            continue
        if not verifier.accepts(text, signature[_ID_BYTES:]):
            raise NoteError(f"the signature of {name} does not hold")
        held = True
    if not held:
        raise NoteError("no signature by the key at hand")
    return text


def read_checkpoint(note: str, verifier: Verifier) -> Checkpoint:
    """The checkpoint in ``note``, signed by ``verifier`` for its own tree. Raises ``NoteError``."""
    lines = opened(note, [verifier]).split("\n")
    if len(lines) < 4:  # the last one is empty
        raise NoteError("not a checkpoint: origin, size and root are expected")
    origin, size, root = lines[0], lines[1], _decoded(lines[2])
    if origin != verifier.name:
        raise NoteError(f"a checkpoint of {origin}, not of {verifier.name}")
    if not (size.isascii() and size.isdigit()) or (size[0] == "0" and size != "0") or int(size) > SIZE_MAX:
        raise NoteError("not a checkpoint: its size is no number")
    if len(root) != HASH_BYTES or base64.b64encode(root).decode() != lines[2]:
        raise NoteError("not a checkpoint: its root is no hash")
    return Checkpoint(origin, int(size), root)
