"""OpenSSL's C interface beyond what Python's `ssl` offers, for the very contexts that `ssl` makes.

The one place that knows where CPython keeps a context's SSL_CTX. What is called through it is its users'
business.
"""

import _ssl
import ctypes
import ssl
from collections.abc import Callable
from typing import Any

# The library that _ssl is linked with, and no other that may be around.
openssl = ctypes.CDLL(_ssl.__file__)


def pointer(context: ssl.SSLContext) -> int:
    """The SSL_CTX behind `context`: the first member of CPython's PySSLContext, after the object header."""
    found = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
    assert found is not None
    return found


def function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """A function of OpenSSL as an object of the caller's own: nobody else's declaration changes it."""
    return ctypes.CFUNCTYPE(result, *arguments)((name, openssl))
