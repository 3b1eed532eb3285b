# cython: language_level=3, boundscheck=False, wraparound=False
"""Digits that may be a card's: their number, how they are grouped, what stands around them, their checksum.

Hyperscan needs a nanosecond for every byte of a pattern of nothing but digits; this looks at every fourteenth
byte, and closer only where there is a digit, a space or a hyphen.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

cdef enum:
    LEAST = 14  # bytes of the shortest number that is looked for
    MOST = 19  # digits of the longest


cdef inline bint is_digit(unsigned char c) noexcept nogil:
    return c'0' <= c <= c'9'


cdef inline bint is_word(unsigned char c) noexcept nogil:
    return c'0' <= c <= c'9' or c'A' <= c <= c'Z' or c'a' <= c <= c'z' or c == c'_'


cdef inline bint is_part(unsigned char c) noexcept nogil:
    return is_digit(c) or c == c' ' or c == c'-'


cdef Py_ssize_t count(const unsigned char *at, const unsigned char *end) noexcept nogil:
    """Digits in a row, more than MOST are MOST + 1."""
    cdef Py_ssize_t n = 0
    while at + n < end and n <= MOST and is_digit(at[n]):
        n += 1
    return n


cdef bint is_luhn(const unsigned char *at, const unsigned char *end) noexcept nogil:
    """ISO/IEC 7812-1 annex B, over the digits between the two."""
    cdef int total = 0, digit
    cdef bint doubled = False
    while end > at:
        end -= 1
        if not is_digit(end[0]):
            continue
        digit = end[0] - c'0'
        if doubled:
            digit *= 2
            if digit > 9:
                digit -= 9
        doubled = not doubled
        total += digit
    return total % 10 == 0


cdef bint is_four(const unsigned char *at, const unsigned char *end) noexcept nogil:
    return at + 4 <= end and count(at, at + 4) == 4


cdef bint is_alone(
    const unsigned char *text, const unsigned char *at, const unsigned char *to, const unsigned char *end, bint grouped
) noexcept nogil:
    """Is [at, to) no part of something longer: a word, a decimal, a row of groups?"""
    if at > text:
        if is_word(at[-1]) or at[-1] == c'.':
            return False
        if at[-1] == c'-' and at - text > 1 and is_word(at[-2]):
            return False
        if grouped and at[-1] == c' ' and at - text >= 5 and is_four(at - 5, at - 1):
            return False
    if to < end:
        if is_word(to[0]):
            return False
        if to + 1 < end and (to[0] == c'-' and is_word(to[1]) or to[0] == c'.' and is_digit(to[1])):
            return False
        if grouped and to[0] == c' ' and is_four(to + 1, end):
            return False
    return True


cdef Py_ssize_t length(const unsigned char *text, const unsigned char *at, const unsigned char *end) noexcept nogil:
    """Bytes of the number that begins there, 0 if none does."""
    cdef Py_ssize_t groups[5]
    cdef const unsigned char *to[5]
    cdef const unsigned char *next = at
    cdef int n = 0
    cdef unsigned char separator
    cdef Py_ssize_t digits = count(at, end)
    if digits >= LEAST:
        if digits <= MOST and is_alone(text, at, at + digits, end, False) and is_luhn(at, at + digits):
            return digits
        return 0
    if digits != 4 or at + 5 >= end:
        return 0
    separator = at[4]
    if separator != c' ' and separator != c'-':
        return 0
    while n < 5:
        groups[n] = count(next, end)
        if groups[n] == 0:
            break
        next += groups[n]
        to[n] = next
        n += 1
        if next >= end or next[0] != separator:
            break
        next += 1
    if n >= 5 and groups[1] == 4 and groups[2] == 4 and groups[3] == 4 and groups[4] == 3:
        if is_alone(text, at, to[4], end, True) and is_luhn(at, to[4]):
            return to[4] - at
    if n >= 4 and groups[1] == groups[2] == groups[3] and (groups[1] == 4 or groups[1] == 3):
        if is_alone(text, at, to[3], end, True) and is_luhn(at, to[3]):
            return to[3] - at
    if n >= 3 and groups[1] == 6 and (groups[2] == 4 or groups[2] == 5):
        if is_alone(text, at, to[2], end, True) and is_luhn(at, to[2]):
            return to[2] - at
    return 0


def find_number(bytes text not None, Py_ssize_t start):
    """(begin, end) of the first number at `start` or later; None if there is none."""
    cdef const unsigned char *data = <const unsigned char *> PyBytes_AS_STRING(text)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(text)
    cdef const unsigned char *end = data + size
    cdef Py_ssize_t at = start + LEAST - 1, left, right, begin, found
    while at < size:
        # A separator has digits on both sides.
        if not (is_digit(data[at]) or is_part(data[at]) and is_digit(data[at - 1])):
            at += LEAST
            continue
        left, right = at, at + 1
        while left > start and is_part(data[left - 1]):
            left -= 1
        while right < size and is_part(data[right]):
            right += 1
        if right - left >= LEAST:
            for begin in range(left, right - LEAST + 1):
                if c'2' <= data[begin] <= c'6' and not (begin and is_digit(data[begin - 1])):
                    found = length(data, data + begin, end)
                    if found:
                        return begin, begin + found
        at = right + LEAST
    return None
