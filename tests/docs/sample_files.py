"""The certificates that samples of the documentation name, made once: worth nothing, and true to their names."""

import functools
import shutil
import tempfile
from pathlib import Path
from typing import Final

from faregate.snapshot.peppers import Pepper, write_peppers
from tests.support import certificates
from tests.support.tls_front import Authority

AUTHORITIES: Final = ("upstream-ca.pem",)
CLIENTS: Final = ("gateway",)
SERVERS: Final = ("api", "partners.example")


@functools.cache
def _made() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="faregate-samples-"))
    authority = Authority(folder)
    for name in AUTHORITIES:
        shutil.copy(authority.ca, folder / name)
    for name in CLIENTS:
        authority.issue(name, client=True)
    partners = certificates.Authority("CN=partners")
    for name in SERVERS:
        partners.issue(f"CN={name}", dns=(f"{name}.test",)).write(folder, name)
    (folder / "partners.pem").write_bytes(partners.pem)
    (folder / "partners.crl").write_bytes(partners.revocations())
    return folder


def lay_document(folder: Path) -> None:
    """Puts ``specs/payments.yaml`` into ``folder``: an OpenAPI document of the payments that samples show."""
    (folder / "specs").mkdir(parents=True, exist_ok=True)
    document = Path(__file__).parents[1] / "vectors" / "openapi" / "payments.yaml"
    shutil.copy(document, folder / "specs" / document.name)


def lay_certificates(folder: Path) -> None:
    """Puts ``certs/`` and a pepper into ``folder``, beside what is there."""
    (folder / "faregate-data").mkdir(parents=True, exist_ok=True)
    write_peppers(folder / "faregate-data", (Pepper("p1", b"a pepper of thirty-two bytes, no"),))
    (folder / "certs").mkdir(parents=True, exist_ok=True)
    for file in _made().iterdir():
        if not (folder / "certs" / file.name).exists():
            shutil.copy(file, folder / "certs" / file.name)
