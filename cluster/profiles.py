"""Which versions, ciphers and groups of TLS are offered: three profiles, and a least version of one's own.

All of them have forward secrecy and no renegotiation. Mozilla's lists "modern", "intermediate" and "old" are
the model, without what they keep for clients that no longer exist: DHE, key exchange by RSA, 3DES.
"""

import ctypes
import ssl
from dataclasses import dataclass

from cluster.settings import TlsSettings
from worker.protocol.openssl import function, pointer

_SET_MIN_PROTO_VERSION = 123  # SSL_CTRL_SET_MIN_PROTO_VERSION
_SET_GROUPS_LIST = 92  # SSL_CTRL_SET_GROUPS_LIST
_PRIORITIZE_CHACHA = ssl.Options(1 << 21)  # SSL_OP_PRIORITIZE_CHACHA

_control = function(
    "SSL_CTX_ctrl", ctypes.c_long, ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p
)
_clear_error = function("ERR_clear_error", None)

# The hybrid with ML-KEM is there from OpenSSL 3.5 on.
_GROUPS = (b"X25519MLKEM768:X25519:P-256:P-384", b"X25519:P-256:P-384")

_AEAD = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True)
class Profile:
    """What one word stands for. `ciphers` are those of TLS 1.2 and older, in OpenSSL's language."""

    least: str
    ciphers: str


PROFILES = {
    "modern": Profile("1.3", _AEAD),
    "default": Profile("1.2", _AEAD),
    "old": Profile("1.2", f"{_AEAD}:ECDHE+AES+SHA256:ECDHE+AES+SHA384:ECDHE+AES+SHA"),
}

VERSIONS = {"1.0": 0x0301, "1.1": 0x0302, "1.2": 0x0303, "1.3": 0x0304}  # on the wire (RFC 8446 4.1.2)
BROKEN = ("1.0", "1.1")  # RFC 8996: their handshake is signed with SHA-1


def put_into(context: ssl.SSLContext, settings: TlsSettings) -> None:
    """Let a server context offer what the settings say, in our order of preference.

    Who prefers ChaCha20, since it has no AES in hardware, gets it nevertheless.
    """
    profile = PROFILES[settings.profile]
    least = settings.minimum_version or profile.least
    # OpenSSL 3 signs with SHA-1 only where all that it deems insecure is let through.
    context.set_ciphers(f"{profile.ciphers}:@SECLEVEL=0" if least in BROKEN else profile.ciphers)
    # Not by `minimum_version`, which warns of the broken ones: whoever names them was warned by us.
    _control(pointer(context), _SET_MIN_PROTO_VERSION, VERSIONS[least], None)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | _PRIORITIZE_CHACHA
    for groups in _GROUPS:
        if _control(pointer(context), _SET_GROUPS_LIST, 0, groups) == 1:
            break
    _clear_error()  # of groups it does not know


def is_offered(version: str) -> bool:
    """Whether the OpenSSL of this machine speaks that version at all."""
    return {"1.0": ssl.HAS_TLSv1, "1.1": ssl.HAS_TLSv1_1}.get(version, True)
