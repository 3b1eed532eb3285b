"""Private keys, and keys and tokens of services that can be told by their shape.

Keys that are made for browsers (Google's AIza, Stripe's pk_) are none.
"""

from worker.reasons import Leak
from worker.security.leaks.rule import Rule

_LINE = rb"(?:\r?\n|(?:\\r)?\\n|[ \t])"
_HEADER = rb"[A-Z][A-Za-z-]{1,40}: [^\r\n<\"\\]{1,120}"


def _private_key(label: bytes) -> Rule:
    """From its first line to its last; a first line without a key behind it is none."""
    begin = rb"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}" + label + rb"-----" + _LINE + rb"{1,4}"
    begin += rb"(?:" + _HEADER + _LINE + rb"{1,4}){0,3}[A-Za-z0-9+/=]{16}"
    more = (
        rb"("
        + _LINE
        + rb"{0,4}-----END [A-Z0-9 ]{1,40}-----)|(?:\r?\n|(?:\\r)?\\n)[ \t]{0,16}[A-Za-z0-9+/=]{1,240}"
    )
    more += rb"| [A-Za-z0-9+/=]{40,240}|[A-Za-z0-9+/=]{1,240}"
    return Rule(Leak.PRIVATE_KEY, rb"-----BEGIN [A-Z0-9 ]{0,60}" + label, begin, more)


_PUTTY = rb"PuTTY-User-Key-File-[1-9]: [^\r\n]{1,60}"
_SHAPES = (
    rb"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b",
    rb"aws_?secret_?access_?key\\?[\"']?\s{0,4}[=:]\s{0,4}\\?[\"']?[A-Za-z0-9/+]{40}",
    rb"\bgh[pousr]_[A-Za-z0-9]{36}\b",
    rb"\bgithub_pat_[A-Za-z0-9_]{82}\b",
    rb"\bglpat-[A-Za-z0-9_-]{20,64}",
    rb"\bxox[abeoprs]-[0-9A-Za-z-]{20,200}",
    rb"https://hooks\.slack\.com/services/T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/[A-Za-z0-9]{20,30}",
    rb"\b[rs]k_live_[0-9A-Za-z]{24,200}\b",
    rb"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
    rb"\bnpm_[A-Za-z0-9]{36}\b",
    rb"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,400}",
    rb"\bGOCSPX-[A-Za-z0-9_-]{28}",
    rb"\bya29\.[A-Za-z0-9_-]{60,300}",
    rb"\bAccountKey=[A-Za-z0-9+/]{86}==",
    rb"\bsk-(?:proj-|svcacct-|ant-[a-z0-9]{2,8}-)[A-Za-z0-9_-]{40,240}",
    rb"\bdo[opr]_v1_[a-f0-9]{64}\b",
    rb"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b",
    rb"\bhv[sb]\.[A-Za-z0-9_-]{24,200}",
    rb"\bhf_[A-Za-z]{34}\b",
)


def _is_no_example(text: bytes, start: int, end: int) -> bool:
    """Amazon's own documentation has keys that end like this."""
    return not text[start:end].upper().endswith(b"EXAMPLE") and b"EXAMPLEKEY" not in text[start:end]


RULES: tuple[Rule, ...] = (
    _private_key(rb"PRIVATE KEY(?: BLOCK)?"),
    Rule(
        Leak.PRIVATE_KEY,
        rb"PuTTY-User-Key-File-[1-9]: ",
        _PUTTY,
        rb"\r?\n(?:(?:Encryption|Comment|Public-Lines|Private-Lines|Private-MAC|Key-Derivation|Argon2-[A-Za-z]{1,20})"
        rb": ?[^\r\n]{0,200}|[A-Za-z0-9+/=]{1,100})",
    ),
    *(Rule(Leak.ACCESS_KEY, shape, shape, check=_is_no_example) for shape in _SHAPES),
)
