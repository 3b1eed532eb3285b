"""Card numbers: as long as their issuer makes them, grouped as on cards or not at all, and right by Luhn.

What only looks like one is common: identifiers, barcodes, decimals, tables. So a number within a longer one,
a word, a decimal or a row of groups is none, and neither are thirteen digits in a row, which is what
barcodes (EAN) are.
"""

import re

from worker.reasons import Leak
from worker.security.leaks.digits import find_number
from worker.security.leaks.rule import Rule

# Issuers by first digits, and the lengths of their numbers (ISO/IEC 7812 and the issuers' own pages).
_ISSUED = re.compile(
    rb"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    rb"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    rb"|3[47]\d{13}"  # American Express
    rb"|(?:6011\d\d|64[4-9]\d{3}|65\d{4})(?:\d{10}|\d{13})"  # Discover
    rb"|35(?:2[89]|[3-8]\d)(?:\d{12}|\d{15})"  # JCB
    rb"|3(?:0[0-5]|[689]\d)\d{11}"  # Diners Club
    rb"|62\d{14,17}"  # UnionPay
    rb"|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{12,15}"  # Maestro
)
_DIFFERENT = 2  # digits that a number has at least; one digit repeated fills forms


class _CardRule(Rule):
    def find(self, text: bytes, start: int) -> tuple[int, int] | None:
        while (found := find_number(text, start)) is not None:
            begin, end = found
            digits = text[begin:end].replace(b" ", b"").replace(b"-", b"")
            if _ISSUED.fullmatch(digits) and len(set(digits)) >= _DIFFERENT:
                return begin, end
            start = begin + 1
        return None


RULES: tuple[Rule, ...] = (_CardRule(Leak.CARD_NUMBER),)
