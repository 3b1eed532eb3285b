"""libmodsecurity 3 by ctypes: the judge of our engine. Debian's package `libmodsecurity3`, no headers needed.

Gives the ids of the rules that a request matched and logged, and libinjection's two detectors, which the
library exports.
"""

import ctypes
import re
from collections.abc import Callable

from worker.security.waf.transaction import HttpRequest

LIBRARY = "libmodsecurity.so.3"
CRS = """
Include /etc/modsecurity/crs/crs-setup.conf
Include /usr/share/modsecurity-crs/rules/*.conf
"""
# What modsecurity.conf-recommended does for bodies: who reads what, and that broken ones are errors.
BODY_RULES = r"""
SecRule REQUEST_HEADERS:Content-Type "^(?:application(?:/soap\+|/)|text)/xml" \
    "id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "^application/json" \
    "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" "id:200002,phase:2,t:none,log,pass,msg:'broken body'"
SecRule MULTIPART_STRICT_ERROR "@eq 1" "id:200003,phase:2,t:none,log,pass,msg:'odd multipart body'"
"""

_ID = re.compile(rb'\[id "(\d+)"\]')
_Log = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)


def is_installed() -> bool:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(LIBRARY)
    pointers = ("msc_init", "msc_create_rules_set", "msc_new_transaction")
    for name in pointers:
        getattr(library, name).restype = ctypes.c_void_p
    return library


class ModSecurity:
    """A rule set in libmodsecurity. Raises ValueError for rules it does not take."""

    def __init__(self, rules: str, *, engine: str = "DetectionOnly") -> None:
        self._library = library = _library()
        self._lines: list[bytes] = []
        self._on_log = _Log(lambda data, line: self._lines.append(line))
        self._handle = ctypes.c_void_p(library.msc_init())
        library.msc_set_log_cb(self._handle, self._on_log)
        self._rules = ctypes.c_void_p(library.msc_create_rules_set())
        text = f"SecRuleEngine {engine}\nSecRequestBodyAccess On\nSecResponseBodyAccess On\n{rules}"
        error = ctypes.c_char_p()
        if library.msc_rules_add(self._rules, text.encode("latin-1"), ctypes.byref(error)) < 0:
            raise ValueError((error.value or b"unknown error").decode())

    def lines(self, request: HttpRequest, *, answer: bool = True) -> list[bytes]:
        """What the library logs of a request; with `answer` an empty 200 follows and all phases run."""
        library = self._library
        self._lines.clear()
        transaction = ctypes.c_void_p(library.msc_new_transaction(self._handle, self._rules, None))
        try:
            library.msc_process_connection(transaction, request.address.encode(), 1234, b"192.0.2.254", 80)
            library.msc_process_uri(transaction, request.target, request.method, request.version)
            for name, value in request.fields:
                library.msc_add_n_request_header(
                    transaction, name, ctypes.c_size_t(len(name)), value, ctypes.c_size_t(len(value))
                )
            library.msc_process_request_headers(transaction)
            if request.body:
                library.msc_append_request_body(transaction, request.body, ctypes.c_size_t(len(request.body)))
            library.msc_process_request_body(transaction)
            if answer:
                library.msc_process_response_headers(transaction, 200, b"HTTP 1.1")
                library.msc_process_response_body(transaction)
                library.msc_process_logging(transaction)
        finally:
            library.msc_transaction_cleanup(transaction)
        return list(self._lines)

    def matched(self, request: HttpRequest) -> list[int]:
        """The ids of the rules that are logged, in order, repeated as often as logged."""
        return [int(found[1]) for line in self.lines(request) for found in [_ID.search(line)] if found]

    def close(self) -> None:
        self._library.msc_rules_cleanup(self._rules)
        self._library.msc_cleanup(self._handle)


def libinjection() -> tuple[Callable[[bytes], str | None], Callable[[bytes], bool]]:
    """Its SQLi and XSS detectors, to compare the engine with everything else being equal."""
    library = ctypes.CDLL(LIBRARY)

    def is_sqli(value: bytes) -> str | None:
        fingerprint = ctypes.create_string_buffer(9)
        found = library.libinjection_sqli(value, ctypes.c_size_t(len(value)), fingerprint)
        return fingerprint.value.decode() if found else None

    def is_xss(value: bytes) -> bool:
        return bool(library.libinjection_xss(value, ctypes.c_size_t(len(value))))

    return is_sqli, is_xss
