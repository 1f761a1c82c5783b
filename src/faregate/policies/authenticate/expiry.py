"""When the credential that proved a call ends: for what outlives the moment of its check, as a tunnel does.

Asked right after the check, of what the check itself remembers; nothing is verified here.
"""

from math import inf

from faregate.policies.api_key.step import PREFIX, ApiKeyVerifier
from faregate.policies.jwt.step import JwtVerifier
from faregate.policies.mtls.step import CertificateVerifier
from faregate.snapshot.call import Call


def credential_ends(
    call: Call, jwt: JwtVerifier, api_keys: ApiKeyVerifier, certificates: CertificateVerifier
) -> float:
    """Seconds since the epoch; ``inf`` for a call without a credential that ends by itself.

    A token that was forgotten since its check counts as ended: a tunnel must not outlive what nobody knows.
    """
    used = call.credential_used
    if used == b"x-api-key":
        return api_keys.ends(call.api_key or b"")
    if used != b"authorization":
        certificate = call.certificate
        if call.identity is None or certificate is None:
            return inf
        return certificates.ends(call, certificate)
    value = call.authorization or b""
    if value.startswith(PREFIX, 7):
        return api_keys.ends(value[7:])
    entry = jwt.remembered(call)
    return entry.expires if entry is not None else call.wall
