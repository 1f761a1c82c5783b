"""The declared form of client certificates: a fingerprint, or a subject and who signed it.

Whether the subject is a distinguished name and the authority's file is sound is found when a configuration is
compiled: both need more than this text.
"""

import re
from typing import Annotated

from pydantic import model_validator

from faregate.model.values import FilePath, Name, Subject, fault, parse_word, reads, text_schema
from faregate.policies.api_key.settings import Term

_FINGERPRINT = r"[0-9A-Fa-f]{64}|[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31}"


class MtlsCredential(Term):
    """A client certificate: its fingerprint, or its subject and who signed it."""

    id: Name | None = None
    sha256: Annotated[
        str | None,
        reads(
            parse_word(re.compile(_FINGERPRINT), "not a fingerprint"),
            "64 hexadecimal digits in quotes: what stands behind `=` when openssl prints a fingerprint",
        ),
        text_schema(_FINGERPRINT, "SHA-256 of the certificate (DER), in hexadecimal."),
    ] = None
    subject: Annotated[
        Subject | None, text_schema("[ -~]{1,255}", "A distinguished name.", "CN=acme, O=Acme Ltd")
    ] = None
    ca: FilePath | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "MtlsCredential":
        if (self.sha256 is None) == (self.subject is None) or (self.subject is None) != (self.ca is None):
            raise fault("bad_value", "neither form of a certificate", "sha256, or subject and ca")
        return self
