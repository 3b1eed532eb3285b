"""OpenSSL's C interface beyond what Python's `ssl` offers, for the very contexts that `ssl` makes.

The one place that knows where CPython keeps a context's SSL_CTX. What is called through it is its users'
business.
"""

import _ssl
import ctypes
import ssl

# The library that _ssl is linked with, and no other that may be around.
openssl = ctypes.CDLL(_ssl.__file__)

openssl.SSL_CTX_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
openssl.SSL_CTX_ctrl.restype = ctypes.c_long


def pointer(context: ssl.SSLContext) -> int:
    """The SSL_CTX behind `context`: the first member of CPython's PySSLContext, after the object header."""
    found = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
    assert found is not None
    return found
