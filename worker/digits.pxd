"""Whole numbers in decimal digits, written in place; a fraction of what snprintf costs."""

from libc.stdint cimport uint64_t


cdef inline char *put_number(char *to, long long number) noexcept nogil:
    """Write `number` at `to`, which has room for 20 bytes; where it ends."""
    cdef char[20] digits
    cdef int at = 20
    cdef uint64_t rest = <uint64_t>number
    if number < 0:
        to[0] = c"-"
        to += 1
        rest = 0 - rest
    while True:
        at -= 1
        digits[at] = <char>(c"0" + rest % 10)
        rest //= 10
        if rest == 0:
            break
    while at < 20:
        to[0] = digits[at]
        to += 1
        at += 1
    return to
