# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Field lines of one HTTP message: strict validation, look-up without per-field objects.

The scanner is plain C over the bytes: one pass checks every rule and writes down where each name and
value lies (16 bytes a line). Python objects are made only for what a look-up returns. Lines added by
us are kept beside the block in a list and only joined when somebody encodes or looks up, so that the
usual answer (stored block, a few more lines, encode) costs one join.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy

from worker.digits cimport put_number

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE /* memmem */
    #endif
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>

    enum {
        F_HOST = 1 << 0, F_CONNECTION = 1 << 1, F_CONTENT_LENGTH = 1 << 2, F_TRANSFER_ENCODING = 1 << 3,
        F_EXPECT = 1 << 4, F_UPGRADE = 1 << 5, F_AUTHORIZATION = 1 << 6, F_COOKIE = 1 << 7,
        F_RANGE = 1 << 8, F_IF_RANGE = 1 << 9, F_IF_NONE_MATCH = 1 << 10, F_IF_MODIFIED_SINCE = 1 << 11,
        F_IF_MATCH = 1 << 12, F_IF_UNMODIFIED_SINCE = 1 << 13, F_CACHE_CONTROL = 1 << 14, F_PRAGMA = 1 << 15,
        F_ACCEPT_ENCODING = 1 << 16, F_FORWARDED = 1 << 17, F_CDN_LOOP = 1 << 18, F_TE = 1 << 19,
        F_TRAILER = 1 << 20, F_SET_COOKIE = 1 << 21, F_VARY = 1 << 22, F_CONTENT_ENCODING = 1 << 23,
    };

    /* What scan() returns instead of a count of lines. */
    enum {
        BAD_NAME = -1, BAD_SPACE = -2, BAD_FOLD = -3, BAD_LF = -4, BAD_CR = -5, BAD_CONTROL = -6, BAD_END = -7,
        BAD_HOSTS = -8, BAD_LENGTHS = -9, BAD_LENGTH = -10, BAD_BOTH = -11, FULL = -12,
        /* HTTP/2 and 3 only */
        BAD_CASE = -13, BAD_EDGE = -14, BAD_HOP = -15, BAD_TE = -16, BAD_PSEUDO = -17, BAD_PSEUDOS = -18,
        BAD_ORDER = -19, BAD_TARGET = -20, BAD_TRAILER = -21, BAD_MISSING = -22, BAD_PROTOCOL = -23,
    };

    /* Lower case of each token character (RFC 9110 5.6.2); 0 for every other byte. */
    static unsigned char token[256];

    static void fill_token(void)
    {
        const char *others = "!#$%&'*+-.^_`|~";
        memset(token, 0, sizeof token);
        for (int c = 'a'; c <= 'z'; c++) token[c] = token[c - 32] = (unsigned char)c;
        for (int c = '0'; c <= '9'; c++) token[c] = (unsigned char)c;
        for (; *others; others++) token[(unsigned char)*others] = (unsigned char)*others;
    }

    /* Do `size` bytes at `name` spell the lower-case `word`, whatever their case? All are token characters. */
    static inline int spells(const unsigned char *name, const void *word, size_t size)
    {
        const unsigned char *lower = word;
        for (size_t i = 0; i < size; i++)
            if (token[name[i]] != lower[i]) return 0;
        return 1;
    }

    /* The bit of a well-known name; 0 for any other. */
    static uint32_t known(const unsigned char *name, size_t size)
    {
    #define IS(word, bit) if (spells(name, word, sizeof word - 1)) return bit
        switch (size << 8 | token[name[0]]) {
        case 2 << 8 | 't': IS("te", F_TE); break;
        case 3 << 8 | 'v': IS("via", F_CDN_LOOP); break;
        case 4 << 8 | 'h': IS("host", F_HOST); break;
        case 4 << 8 | 'v': IS("vary", F_VARY); break;
        case 5 << 8 | 'r': IS("range", F_RANGE); break;
        case 6 << 8 | 'c': IS("cookie", F_COOKIE); break;
        case 6 << 8 | 'e': IS("expect", F_EXPECT); break;
        case 6 << 8 | 'p': IS("pragma", F_PRAGMA); break;
        case 7 << 8 | 'u': IS("upgrade", F_UPGRADE); break;
        case 7 << 8 | 't': IS("trailer", F_TRAILER); break;
        case 8 << 8 | 'i': IS("if-range", F_IF_RANGE); IS("if-match", F_IF_MATCH); break;
        case 8 << 8 | 'c': IS("cdn-loop", F_CDN_LOOP); break;
        case 9 << 8 | 'f': IS("forwarded", F_FORWARDED); break;
        case 9 << 8 | 'x': IS("x-real-ip", F_FORWARDED); break;
        case 10 << 8 | 'c': IS("connection", F_CONNECTION); break;
        case 10 << 8 | 's': IS("set-cookie", F_SET_COOKIE); break;
        case 13 << 8 | 'a': IS("authorization", F_AUTHORIZATION); break;
        case 13 << 8 | 'c': IS("cache-control", F_CACHE_CONTROL); break;
        case 13 << 8 | 'i': IS("if-none-match", F_IF_NONE_MATCH); break;
        case 14 << 8 | 'c': IS("content-length", F_CONTENT_LENGTH); break;
        case 15 << 8 | 'a': IS("accept-encoding", F_ACCEPT_ENCODING); break;
        case 15 << 8 | 'x': IS("x-forwarded-for", F_FORWARDED); break;
        case 16 << 8 | 'c': IS("content-encoding", F_CONTENT_ENCODING); break;
        case 16 << 8 | 'x': IS("x-forwarded-host", F_FORWARDED); break;
        case 17 << 8 | 'i': IS("if-modified-since", F_IF_MODIFIED_SINCE); break;
        case 17 << 8 | 't': IS("transfer-encoding", F_TRANSFER_ENCODING); break;
        case 17 << 8 | 'x': IS("x-forwarded-proto", F_FORWARDED); break;
        case 19 << 8 | 'i': IS("if-unmodified-since", F_IF_UNMODIFIED_SINCE); break;
        }
        return 0;
    #undef IS
    }

    /* First control character other than HTAB in p[0..end), or end. Eight bytes at a time: a byte below 0x20
     * or equal to 0x7f raises its high bit in `hit`; bits above the lowest one may be false, the lowest never is. */
    static const unsigned char *skip_text(const unsigned char *p, const unsigned char *end)
    {
        const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
        for (;;) {
            while (end - p >= 8) {
                uint64_t x, hit;
                memcpy(&x, p, 8);
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
                x = __builtin_bswap64(x);
    #endif
                uint64_t del = x ^ (ones * 0x7f);
                hit = ((x - ones * 0x20) & ~x & high) | ((del - ones) & ~del & high);
                if (hit) { p += __builtin_ctzll(hit) >> 3; goto found; }
                p += 8;
            }
            while (p < end && *p >= 0x20 && *p != 0x7f) p++;
            if (p == end) return p;
        found:
            if (*p != '\\t') return p;
            p++;
        }
    }

    /* What must hold of one line for a header section as a whole, given the bits of the lines before it; 0 or why not. */
    static int unfit(uint32_t bit, uint32_t seen, const unsigned char *value, size_t size)
    {
        if (!(bit & (F_HOST | F_CONTENT_LENGTH))) return 0;
        if (bit & seen) return bit == F_HOST ? BAD_HOSTS : BAD_LENGTHS;
        if (bit == F_HOST) return 0;
        if (size == 0 || size > 18) return BAD_LENGTH;
        for (size_t i = 0; i < size; i++)
            if (value[i] < '0' || value[i] > '9') return BAD_LENGTH;
        return 0;
    }

    /* Why a value must be refused as it stands in HTTP/2 and 3, where it comes by length; 0 if it need not. */
    static int unfit_value(const unsigned char *value, size_t size)
    {
        const unsigned char *end = value + size, *p = skip_text(value, end);
        if (p != end) return *p == '\\n' ? BAD_LF : *p == '\\r' ? BAD_CR : BAD_CONTROL;
        if (size && (*value == ' ' || *value == '\\t' || end[-1] == ' ' || end[-1] == '\\t')) return BAD_EDGE;
        return 0;
    }

    /* Why a name must be refused in HTTP/2 and 3 (RFC 9113 8.2); 0 if it need not. */
    static int unfit_name(const unsigned char *name, size_t size)
    {
        if (size == 0) return BAD_NAME;
        for (size_t i = 0; i < size; i++)
            if (token[name[i]] != name[i] || !name[i]) return token[name[i]] ? BAD_CASE : BAD_NAME;
        return 0;
    }

    /* Is it one of the names that speak of one HTTP/1 connection (RFC 9113 8.2.2)? In lower case. */
    static int is_of_connection(const unsigned char *name, size_t size)
    {
    #define IS(word) if (memcmp(name, word, sizeof word - 1) == 0) return 1
        switch (size) {
        case 7: IS("upgrade"); break;
        case 10: IS("connection"); IS("keep-alive"); break;
        case 16: IS("proxy-connection"); break;
        case 17: IS("transfer-encoding"); break;
        }
        return 0;
    #undef IS
    }

    /* Visible ASCII and obs-text only, as in a target of HTTP/1? */
    static int visible(const unsigned char *p, size_t size)
    {
        for (size_t i = 0; i < size; i++)
            if (p[i] <= ' ' || p[i] == 0x7f) return 0;
        return size > 0;
    }

    static int pile(Pile *on, const void *data, size_t size)
    {
        if (on->room - on->size < size) {
            size_t room = on->room ? on->room : 1024;
            while (room - on->size < size) room *= 2;
            char *grown = realloc(on->data, room);
            if (!grown) return 0;
            on->data = grown;
            on->room = room;
        }
        memcpy(on->data + on->size, data, size);
        on->size += size;
        return 1;
    }

    /* Give back what one large section took. */
    static void trim(Pile *of)
    {
        if (of->room <= 8192) return;
        free(of->data);
        *of = (Pile){0};
    }

    /* Check and index the lines in block[start..end), each ended by CRLF. Returns how many, or why not.
     * `whole`: also check what must hold for a header section as a whole (Host, Content-Length). */
    static int scan(const char *block, size_t start, size_t end, Line *lines, int room, int whole, uint32_t *mask)
    {
        const unsigned char *base = (const unsigned char *)block, *p = base + start, *stop = base + end;
        uint32_t seen = 0;
        int count = 0;

        while (p < stop) {
            const unsigned char *name = p;
            while (p < stop && token[*p]) p++;
            if (p == stop) return BAD_END;
            if (*p != ':') {
                if (*p == '\\n') return BAD_LF;
                if (p == name) return *p == ' ' || *p == '\\t' ? BAD_FOLD : *p == '\\r' ? BAD_END : BAD_NAME;
                return *p == ' ' || *p == '\\t' ? BAD_SPACE : BAD_NAME;
            }
            if (p == name) return BAD_NAME;
            size_t name_size = (size_t)(p - name);
            p++;
            while (p < stop && (*p == ' ' || *p == '\\t')) p++;
            const unsigned char *value = p;
            p = skip_text(p, stop);
            if (p == stop) return BAD_END;
            if (*p != '\\r') return *p == '\\n' ? BAD_LF : BAD_CONTROL;
            if (p + 1 == stop || p[1] != '\\n') return BAD_CR;
            const unsigned char *value_end = p;
            while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\\t')) value_end--;
            p += 2;
            size_t value_size = (size_t)(value_end - value);

            uint32_t bit = known(name, name_size);
            if (whole) {
                int wrong = unfit(bit, seen, value, value_size);
                if (wrong) return wrong;
            }
            seen |= bit;
            if (count == room) return FULL;
            lines[count++] = (Line){(uint32_t)(name - base), (uint32_t)name_size,
                                    (uint32_t)(value - base), (uint32_t)value_size};
        }
        if (whole && (seen & F_CONTENT_LENGTH) && (seen & F_TRANSFER_ENCODING)) return BAD_BOTH;
        *mask = seen;
        return count;
    }

    /* Is there a line of that lower-case name among the well-formed lines p[0..end)? Looks at line starts only. */
    static int has_line(const char *p, const char *end, const char *name, size_t size)
    {
        while (p < end) {
            if ((size_t)(end - p) > size && p[size] == ':' && spells((const unsigned char *)p, name, size)) return 1;
            p = memchr(p, '\\n', (size_t)(end - p));
            if (!p) return 0;
            p++;
        }
        return 0;
    }

    /* Where a request line's parts lie (RFC 9112 3). */
    typedef struct {
        size_t method_end, target, query, target_end, end; /* query: of its "?", or target_end */
        int minor;
    } RequestLine;

    /* method SP target SP "HTTP/1." DIGIT(0 or 1) CRLF, one space each; true if block[start..end) begins so. */
    static int scan_request_line(const char *block, size_t start, size_t end, RequestLine *line)
    {
        const unsigned char *base = (const unsigned char *)block, *p = base + start, *stop = base + end;
        while (p < stop && token[*p]) p++;
        if (p == base + start || p == stop || *p != ' ') return 0;
        line->method_end = (size_t)(p++ - base);
        line->target = (size_t)(p - base);
        line->query = 0;
        while (p < stop && *p > ' ' && *p != 0x7f) {
            if (*p == '?' && !line->query) line->query = (size_t)(p - base);
            p++;
        }
        line->target_end = (size_t)(p - base);
        if (!line->query) line->query = line->target_end;
        if (line->target_end == line->target || stop - p < 11) return 0;
        if (memcmp(p, " HTTP/1.", 8) || (p[8] != '0' && p[8] != '1') || p[9] != '\\r' || p[10] != '\\n') return 0;
        line->minor = p[8] - '0';
        line->end = (size_t)(p + 11 - base);
        return 1;
    }

    /* Just behind the empty line that ends a head, looked for from `from` on; 0 if it is not there. */
    static size_t head_end(const char *block, size_t from, size_t size)
    {
        const char *found = from < size ? memmem(block + from, size - from, "\\r\\n\\r\\n", 4) : NULL;
        return found ? (size_t)(found - block) + 4 : 0;
    }

    /* Is the path its own normal form? Visible ASCII, no "%", backslash, "#" or "?", no empty segment, none that begins
     * with a dot. */
    static int plain_path(const unsigned char *p, size_t size)
    {
        const unsigned char *end = p + size;
        unsigned char before = 0;
        if (size == 0 || *p != '/') return 0;
        for (; p < end; before = *p++) {
            if (*p <= ' ' || *p >= 0x7f || *p == '%' || *p == '#' || *p == '?' || *p == 0x5c) return 0;
            if (before == '/' && (*p == '/' || *p == '.')) return 0;
        }
        return 1;
    }

    static Py_ssize_t count_lf(const char *block, size_t start, size_t end)
    {
        Py_ssize_t count = 0;
        for (size_t i = start; i < end; i++) count += block[i] == '\\n';
        return count;
    }
    """
    enum:
        F_HOST, F_CONNECTION, F_CONTENT_LENGTH, F_TRANSFER_ENCODING, F_EXPECT, F_UPGRADE, F_AUTHORIZATION
        F_COOKIE, F_RANGE, F_IF_RANGE, F_IF_NONE_MATCH, F_IF_MODIFIED_SINCE, F_IF_MATCH
        F_IF_UNMODIFIED_SINCE, F_CACHE_CONTROL, F_PRAGMA, F_ACCEPT_ENCODING, F_FORWARDED, F_CDN_LOOP
        F_TE, F_TRAILER, F_SET_COOKIE, F_VARY, F_CONTENT_ENCODING
        BAD_NAME, BAD_SPACE, BAD_FOLD, BAD_LF, BAD_CR, BAD_CONTROL, BAD_END
        BAD_HOSTS, BAD_LENGTHS, BAD_LENGTH, BAD_BOTH, FULL
        BAD_CASE, BAD_EDGE, BAD_HOP, BAD_TE, BAD_PSEUDO, BAD_PSEUDOS, BAD_ORDER, BAD_TARGET, BAD_TRAILER, BAD_MISSING
        BAD_PROTOCOL

    int unfit(uint32_t bit, uint32_t seen, const unsigned char *value, size_t size) nogil
    int unfit_value(const unsigned char *value, size_t size) nogil
    int unfit_name(const unsigned char *name, size_t size) nogil
    bint is_of_connection(const unsigned char *name, size_t size) nogil
    bint visible(const unsigned char *p, size_t size) nogil
    bint pile(Pile *on, const void *data, size_t size) nogil
    void trim(Pile *of) nogil
    const unsigned char *token
    void fill_token()
    bint spells(const unsigned char *name, const void *word, size_t size) nogil
    uint32_t known(const unsigned char *name, size_t size) nogil
    int scan(const char *block, size_t start, size_t end, Line *lines, int room, bint whole, uint32_t *mask) nogil
    Py_ssize_t count_lf(const char *block, size_t start, size_t end) nogil
    bint has_line(const char *p, const char *end, const char *name, size_t size) nogil

    ctypedef struct RequestLine:
        size_t method_end, target, query, target_end, end
        int minor

    bint scan_request_line(const char *block, size_t start, size_t end, RequestLine *line) nogil
    size_t head_end(const char *block, size_t begin, size_t size) nogil
    bint plain_path(const unsigned char *p, size_t size) nogil

fill_token()

HOST = F_HOST
CONNECTION = F_CONNECTION
CONTENT_LENGTH = F_CONTENT_LENGTH
TRANSFER_ENCODING = F_TRANSFER_ENCODING
EXPECT = F_EXPECT
UPGRADE = F_UPGRADE
AUTHORIZATION = F_AUTHORIZATION
COOKIE = F_COOKIE
RANGE = F_RANGE
IF_RANGE = F_IF_RANGE
IF_NONE_MATCH = F_IF_NONE_MATCH
IF_MODIFIED_SINCE = F_IF_MODIFIED_SINCE
IF_MATCH = F_IF_MATCH
IF_UNMODIFIED_SINCE = F_IF_UNMODIFIED_SINCE
CACHE_CONTROL = F_CACHE_CONTROL
PRAGMA = F_PRAGMA
ACCEPT_ENCODING = F_ACCEPT_ENCODING
FORWARDED = F_FORWARDED
CDN_LOOP = F_CDN_LOOP
TE = F_TE
TRAILER = F_TRAILER
SET_COOKIE = F_SET_COOKIE
VARY = F_VARY
CONTENT_ENCODING = F_CONTENT_ENCODING


class FieldError(ValueError):
    """A header section that must be refused; `args[0]` says which rule it breaks, in a few words."""


class TooManyFields(FieldError):
    """More field lines than allowed: a matter of size (431), not of grammar (400)."""


class LineError(ValueError):
    """A request line that must be refused. `head.line_error` finds the words for it."""


cdef dict RULES = {
    BAD_NAME: "field name is not a token",
    BAD_SPACE: "whitespace before the colon",
    BAD_FOLD: "line folding",
    BAD_LF: "line ended by a bare LF",
    BAD_CR: "bare CR",
    BAD_CONTROL: "control character in a field value",
    BAD_END: "field line without an end",
    BAD_HOSTS: "more than one Host",
    BAD_LENGTHS: "more than one Content-Length",
    BAD_LENGTH: "Content-Length is not a number of at most 18 digits",
    BAD_BOTH: "Content-Length together with Transfer-Encoding",
    BAD_CASE: "field name with a capital letter",
    BAD_EDGE: "whitespace around a field value",
    BAD_HOP: "field of an HTTP/1 connection",
    BAD_TE: "TE other than trailers",
    BAD_PSEUDO: "unknown pseudo-field",
    BAD_PSEUDOS: "pseudo-field more than once",
    BAD_ORDER: "pseudo-field behind a field",
    BAD_TARGET: "pseudo-field that is empty or has a character it may not have",
    BAD_TRAILER: "trailer field that belongs into the header section",
    BAD_MISSING: "pseudo-field missing",
    BAD_PROTOCOL: ":protocol without CONNECT",
}

# Most messages have fewer lines than this and are indexed in one pass. Only used under the GIL, never across a call.
cdef enum:
    ROOM = 128
cdef Line scratch[ROOM]


@cython.final
@cython.freelist(256)
cdef class Fields:
    """Ordered field lines. Names compare case-insensitively and keep the spelling they came with."""

    def __cinit__(self):
        self.lines = NULL
        self.count = -1

    def __dealloc__(self):
        PyMem_Free(self.lines)

    @staticmethod
    def parse(bytes block not None, Py_ssize_t start=0, *, int max_fields=ROOM):
        """Index block[start:], field lines and the empty line behind them; FieldError if a rule is broken."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(block)
        cdef const char *data = PyBytes_AS_STRING(block)
        if start < 0 or size > 0x7FFFFFFF or size - start < 2 or data[size - 2] != b"\r" or data[size - 1] != b"\n":
            raise FieldError("header section without its empty line")
        cdef Fields fields = Fields.__new__(Fields)
        fields.block = block
        fields.start = start
        fields.end = size - 2
        fields.index(True, max_fields)
        return fields

    @staticmethod
    def of(pairs=()):
        """The same rules for name/value pairs."""
        cdef list pieces = []
        cdef bytes name, value
        for name, value in pairs:
            # What would end the name or the line early must not be glued in, or one pair could pass for two.
            if b":" in name or not name:
                raise FieldError(RULES[BAD_NAME])
            if b"\n" in value:
                raise FieldError(RULES[BAD_LF])
            pieces += (name, b": ", value, b"\r\n")
        cdef Fields fields = Fields.trusted(b"".join(pieces))
        fields.index(True, 0x7FFFFFFF)
        return fields

    @staticmethod
    def trusted(bytes block not None):
        """Wrap lines that were validated before: no scan until the first look-up."""
        cdef Fields fields = Fields.__new__(Fields)
        fields.block = block
        fields.start = 0
        fields.end = PyBytes_GET_SIZE(block)
        return fields

    cdef int index(self, bint whole, int max_fields) except -1:
        """Fill `lines`, `count` and `seen` from the block."""
        cdef const char *data = PyBytes_AS_STRING(self.block)
        cdef Line *lines = NULL
        cdef Py_ssize_t room
        cdef int count = scan(data, self.start, self.end, scratch, min(ROOM, max_fields), whole, &self.seen)
        if count == FULL:
            room = count_lf(data, self.start, self.end)  # each line has at least one
            if room > max_fields:
                raise TooManyFields(f"more than {max_fields} field lines")
            lines = <Line *>PyMem_Malloc(room * sizeof(Line))
            if lines == NULL:
                raise MemoryError
            count = scan(data, self.start, self.end, lines, <int>room, whole, &self.seen)
        elif count > 0:
            lines = <Line *>PyMem_Malloc(count * sizeof(Line))
            if lines == NULL:
                raise MemoryError
            memcpy(lines, scratch, count * sizeof(Line))
        if count < 0:
            PyMem_Free(lines)
            raise FieldError(RULES[count])
        PyMem_Free(self.lines)
        self.lines = lines
        self.count = count
        return 0

    cdef int settle(self) except -1:
        """Make `lines` tell the whole truth: join what was appended, index what is not."""
        if self.tail is not None:
            self.rewrite(b"".join(self.tail))
        if self.count < 0:
            self.index(False, 0x7FFFFFFF)
        return 0

    cdef void rewrite(self, bytes block):
        """Replace all lines by those in `block`."""
        self.block = block
        self.start = 0
        self.end = PyBytes_GET_SIZE(block)
        self.tail = None
        self.count = -1

    cdef bytes base(self):
        """The indexed lines as bytes of their own."""
        if self.start == 0 and self.end == PyBytes_GET_SIZE(self.block):
            return self.block
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(self.block) + self.start, self.end - self.start)

    cdef int find(self, bytes name, int after) except -2:
        """Index of the first line of that name behind line `after`, or -1."""
        if self.tail is not None or self.count < 0:
            self.settle()
        cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(self.block)
        cdef const unsigned char *word = <const unsigned char *>PyBytes_AS_STRING(name)
        cdef size_t size = PyBytes_GET_SIZE(name)
        cdef uint32_t bit = known(word, size)
        cdef int i
        if bit and not self.seen & bit:
            return -1
        for i in range(after + 1, self.count):
            if self.lines[i].name_size == size and spells(data + self.lines[i].name, word, size):
                return i
        return -1

    cdef bytes value(self, int i):
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(self.block) + self.lines[i].value, self.lines[i].value_size)

    @property
    def mask(self):
        """Which of the well-known fields are present."""
        if self.tail is not None or self.count < 0:
            self.settle()
        return self.seen

    cpdef bytes get(self, bytes name):
        """Value of the first line of that name, or None."""
        if name is None:
            raise TypeError("a field name must be bytes, not None")
        cdef int i = self.find(name, -1)
        return None if i < 0 else self.value(i)

    def get_all(self, bytes name not None):
        """Values of every line of that name, in order."""
        cdef list values = []
        cdef int i = self.find(name, -1)
        while i >= 0:
            values.append(self.value(i))
            i = self.find(name, i)
        return values

    def joined(self, bytes name not None):
        """All values of that name as one list, joined with ", "; None if absent."""
        cdef int i = self.find(name, -1)
        if i < 0:
            return None
        if self.find(name, i) < 0:
            return self.value(i)
        return b", ".join(self.get_all(name))

    def __contains__(self, bytes name not None):
        return self.find(name, -1) >= 0

    def __len__(self):
        self.settle()
        return self.count

    def __bool__(self):
        return True  # `if fields` asks whether there are Fields at all, never whether they are empty

    def items(self):
        """(name as spelled, value) in order."""
        self.settle()
        cdef const char *data = PyBytes_AS_STRING(self.block)
        cdef list pairs = []
        cdef int i
        for i in range(self.count):
            pairs.append((PyBytes_FromStringAndSize(data + self.lines[i].name, self.lines[i].name_size), self.value(i)))
        return pairs

    def append(self, bytes name not None, bytes value not None):
        """Add a line at the end, trusted to be valid."""
        if self.tail is None:
            self.tail = [self.base()]
        cdef list tail = self.tail
        tail.append(name)
        tail.append(b": ")
        tail.append(value)
        tail.append(b"\r\n")

    def append_lines(self, bytes lines not None):
        """Add ready-made lines at the end, trusted to be valid."""
        if self.tail is None:
            self.tail = [self.base()]
        (<list>self.tail).append(lines)

    def append_pieces(self, *pieces):
        """Add lines at the end, made of bytes and whole numbers."""
        if self.tail is None:
            self.tail = [self.base()]
        (<list>self.tail).append(join_pieces(pieces))

    def set(self, bytes name not None, bytes value not None):
        """Replace every line of that name by one, at the place of the first; add it when absent."""
        cdef bytes lower = name.lower()
        cdef int i = self.find(lower, -1)
        if i < 0:
            self.append(name, value)
        else:
            self.rewrite(self.without((lower,), i, b"%b: %b\r\n" % (name, value)))

    def remove(self, *names):
        """Drop every line of the given names; absent ones are fine."""
        if self.tail is not None or self.count < 0:
            self.settle()
        cdef const char *data = PyBytes_AS_STRING(self.block)
        cdef Line *lines = self.lines
        cdef int count = self.count, kept = 0, i
        cdef Py_ssize_t size = self.end - self.start, begin, line_size, at = 0
        cdef bytes block
        cdef char *to
        cdef uint64_t sizes = sizes_of(names)
        for i in range(count):
            if self.is_one_of(i, names, sizes):
                size -= self.line_end(i) - <Py_ssize_t>lines[i].name
                kept += 1
        if kept == 0:
            return
        block = PyBytes_FromStringAndSize(NULL, size)
        to = PyBytes_AS_STRING(block)
        self.seen = 0
        kept = 0
        for i in range(count):
            if self.is_one_of(i, names, sizes):
                continue
            begin = lines[i].name
            line_size = self.line_end(i) - begin
            memcpy(to + at, data + begin, line_size)
            lines[kept].name_size = lines[i].name_size
            lines[kept].value = <uint32_t>(lines[i].value - begin + at)
            lines[kept].value_size = lines[i].value_size
            lines[kept].name = <uint32_t>at
            self.seen |= known(<const unsigned char *>to + at, lines[kept].name_size)
            at += line_size
            kept += 1
        self.block = block
        self.start = 0
        self.end = size
        self.count = kept

    cdef Py_ssize_t line_end(self, int i) noexcept:
        """Where line `i` ends."""
        return self.lines[i + 1].name if i + 1 < self.count else self.end

    cdef bint is_one_of(self, int i, tuple names, uint64_t sizes) except -1:
        """Has line `i` one of these lower-case names, whose `sizes_of` are given?"""
        cdef const unsigned char *spelled = <const unsigned char *>PyBytes_AS_STRING(self.block) + self.lines[i].name
        cdef size_t size = self.lines[i].name_size
        cdef bytes name
        if not sizes >> (size & 63) & 1:
            return False
        for name in names:
            if <size_t>PyBytes_GET_SIZE(name) == size and spells(spelled, PyBytes_AS_STRING(name), size):
                return True
        return False

    cdef bytes without(self, tuple names, int first, bytes instead):
        """The lines but those of `names`, of which `first` is the first and has `instead` in its place."""
        cdef const char *data = PyBytes_AS_STRING(self.block)
        cdef Py_ssize_t kept = self.start  # where the run of lines to keep begins
        cdef Py_ssize_t begin, end
        cdef list pieces = []
        cdef bytes name
        cdef int i
        for i in range(first, self.count):
            for name in names:
                if self.lines[i].name_size == <size_t>PyBytes_GET_SIZE(name) and spells(
                    <const unsigned char *>data + self.lines[i].name,
                    <const unsigned char *>PyBytes_AS_STRING(name),
                    self.lines[i].name_size,
                ):
                    begin = self.lines[i].name
                    end = self.lines[i + 1].name if i + 1 < self.count else self.end
                    if begin > kept:
                        pieces.append(PyBytes_FromStringAndSize(data + kept, begin - kept))
                    if i == first:
                        pieces.append(instead)
                    kept = end
                    break
        if self.end > kept:
            pieces.append(PyBytes_FromStringAndSize(data + kept, self.end - kept))
        return b"".join(pieces)

    def encode_without(self, tuple names not None):
        """`encode` of what `remove(*names)` would leave."""
        return self.sifted(names, False)

    def only(self, tuple names not None):
        """The lines of the given names, as fields of their own."""
        return Fields.trusted(self.sifted(names, True))

    cdef bytes sifted(self, tuple names, bint wanted):
        """The lines that have one of these lower-case names, or those that have none of them."""
        if self.tail is not None or self.count < 0:
            self.settle()
        cdef const char *data = PyBytes_AS_STRING(self.block)
        cdef bytes kept = PyBytes_FromStringAndSize(NULL, self.end - self.start)
        cdef char *start = PyBytes_AS_STRING(kept)
        cdef Py_ssize_t begin, size, at = 0
        cdef uint64_t sizes = sizes_of(names)
        cdef int i
        for i in range(self.count):
            if self.is_one_of(i, names, sizes) == wanted:
                begin = self.lines[i].name
                size = self.line_end(i) - begin
                memcpy(start + at, data + begin, size)
                at += size
        return kept if at == self.end - self.start else PyBytes_FromStringAndSize(start, at)

    def copy(self):
        """The same lines, to be changed apart."""
        cdef Fields other = Fields.__new__(Fields)
        other.block = self.block
        other.start = self.start
        other.end = self.end
        other.seen = self.seen
        if self.tail is not None:
            other.tail = list(self.tail)
        elif self.count > 0:
            other.lines = <Line *>PyMem_Malloc(self.count * sizeof(Line))
            if other.lines == NULL:
                raise MemoryError
            memcpy(other.lines, self.lines, self.count * sizeof(Line))
            other.count = self.count
        return other

    def encode(self):
        """The lines as they go on the wire, each ended by CRLF, without the empty line."""
        if self.tail is None:
            return self.base()
        return b"".join(self.tail)

    def assemble(self, bytes start not None, bytes date not None, Py_ssize_t length, bytes framing not None,
                 bytes body not None):
        """A whole message in one allocation: `start`, the lines, `date` unless they have a Date, Content-Length
        unless `length` is negative, `framing`, the empty line, `body`."""
        cdef char number[48]
        cdef Py_ssize_t number_size = 0
        cdef Py_ssize_t lines_size = self.end - self.start, size
        cdef const char *lines = PyBytes_AS_STRING(self.block) + self.start
        cdef bytes piece, message
        cdef bint dated
        cdef char *p
        if self.tail is not None:
            piece = b"".join(self.tail)
            lines = PyBytes_AS_STRING(piece)
            lines_size = PyBytes_GET_SIZE(piece)
        dated = has_line(lines, lines + lines_size, b"date", 4)
        if length >= 0:
            memcpy(number, b"Content-Length: ", 16)
            p = put_number(number + 16, length)
            memcpy(p, b"\r\n", 2)
            number_size = p + 2 - number
        size = PyBytes_GET_SIZE(start) + lines_size + number_size + PyBytes_GET_SIZE(framing) + 2
        size += PyBytes_GET_SIZE(body)
        if not dated:
            size += PyBytes_GET_SIZE(date)
        message = PyBytes_FromStringAndSize(NULL, size)
        p = put(PyBytes_AS_STRING(message), start)
        memcpy(p, lines, lines_size)
        p += lines_size
        if not dated:
            p = put(p, date)
        memcpy(p, number, number_size)
        p = put(p + number_size, framing)
        p[0] = c"\r"
        p[1] = c"\n"
        put(p + 2, body)
        return message

    def __reduce__(self):
        return Fields.trusted, (self.encode(),)

    def __repr__(self):
        return f"Fields({self.items()!r})"


cdef inline bint is_token(unsigned char byte) noexcept:
    return token[byte] != 0


cdef bytes join_pieces(tuple pieces):
    """Bytes as they are, whole numbers in decimal digits; a third of what %-formatting costs."""
    cdef char[256] short_one  # what most come to: the exact size is known before the object is made
    cdef char *room = short_one
    cdef char *to
    cdef Py_ssize_t size = 0
    cdef bytes joined
    for piece in pieces:
        size += PyBytes_GET_SIZE(piece) if type(piece) is bytes else 20
    if size > <Py_ssize_t>sizeof(short_one):
        room = <char *>PyMem_Malloc(size)
        if room == NULL:
            raise MemoryError
    try:
        to = room
        for piece in pieces:
            to = put(to, <bytes>piece) if type(piece) is bytes else put_number(to, piece)
        joined = PyBytes_FromStringAndSize(room, to - room)
    finally:
        if room != short_one:
            PyMem_Free(room)
    return joined


cdef uint64_t sizes_of(tuple names) except? 0:
    """Which sizes these names have, modulo 64: tells most lines that have none of them without comparing."""
    cdef uint64_t sizes = 0
    cdef bytes name
    for name in names:
        sizes |= <uint64_t>1 << (PyBytes_GET_SIZE(name) & 63)
    return sizes


cdef inline char *put(char *to, bytes piece) noexcept:
    """Copy `piece` to `to`; where it ends."""
    memcpy(to, PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
    return to + PyBytes_GET_SIZE(piece)


cdef bytes GET = b"GET"
cdef bytes HEAD = b"HEAD"
cdef bytes POST = b"POST"


cdef inline bytes method_name(const char *name, Py_ssize_t size):
    """The usual methods without making an object."""
    if size == 3 and memcmp(name, b"GET", 3) == 0:
        return GET
    if size == 4 and memcmp(name, b"HEAD", 4) == 0:
        return HEAD
    if size == 4 and memcmp(name, b"POST", 4) == 0:
        return POST
    return PyBytes_FromStringAndSize(name, size)


def read_head(bytes data not None, Py_ssize_t start, Py_ssize_t seen, Py_ssize_t max_line, Py_ssize_t max_header,
              int max_fields):
    """The request head that begins at data[start], with its fields checked as by `Fields.parse`.

    (end, method, target, path, query, minor version, fields); path and query are the target's parts around its
    first "?". None if the head is not complete, which is looked for from data[seen] on. Raises LineError or
    FieldError, and OverflowError for a line of more than `max_line` or a header of more than `max_header` bytes.
    """
    cdef const char *block = PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t end = head_end(block, max(start, seen - 3), size)
    cdef RequestLine line
    cdef bytes method, target, path, query
    cdef Fields fields
    if end == 0:
        return None
    if not scan_request_line(block, start, end, &line):
        raise LineError
    if <Py_ssize_t>line.end - start > max_line or end - <Py_ssize_t>line.end > max_header:
        raise OverflowError("line" if <Py_ssize_t>line.end - start > max_line else "header")
    method = method_name(block + start, line.method_end - start)
    target = PyBytes_FromStringAndSize(block + line.target, line.target_end - line.target)
    if line.query == line.target_end:
        path = target
        query = None
    else:
        path = PyBytes_FromStringAndSize(block + line.target, line.query - line.target)
        query = PyBytes_FromStringAndSize(block + line.query + 1, line.target_end - line.query - 1)
    fields = Fields.__new__(Fields)
    if end == size:
        fields.block = data
        fields.start = line.end
        fields.end = end - 2
    else:  # do not keep what follows alive
        fields.block = PyBytes_FromStringAndSize(block + line.end, end - 2 - line.end)
        fields.start = 0
        fields.end = end - 2 - <Py_ssize_t>line.end
    fields.index(True, max_fields)
    return end, method, target, path, query, line.minor, fields


def is_plain_path(bytes path not None):
    """Is the path its own normal form, by a look at its bytes?"""
    return plain_path(<const unsigned char *>PyBytes_AS_STRING(path), PyBytes_GET_SIZE(path))


cdef class Section:
    """A header or trailer section that arrives field by field (HTTP/2, HTTP/3), under the rules that hold for lines.

    Serves one section after another: `begin`, `add` for each field, then the verdict and the parts.
    """

    def __dealloc__(self):
        free(self.lines.data)
        free(self.index.data)
        free(self.crumbs.data)

    cdef void begin(self, bint trailers, size_t max_bytes, int max_fields) noexcept:
        """Forget the section before. More than `max_bytes` in lines or `max_fields` is not kept, but noticed."""
        self.lines.size = self.index.size = self.crumbs.size = 0
        trim(&self.lines)
        trim(&self.index)
        trim(&self.crumbs)
        self.seen = 0
        self.wrong = 0
        self.taken = 0
        self.count = 0
        self.too_large = False
        self.trailers = trailers
        self.status = -1
        self.max_bytes = max_bytes
        self.max_fields = max_fields
        self.method = self.scheme = self.authority = self.path = self.protocol = self.host = None

    cdef void begin_answer(self, size_t max_bytes, int max_fields) noexcept:
        """`begin` for the header section of an answer, whose only pseudo-field is :status."""
        self.begin(False, max_bytes, max_fields)
        self.status = 0

    def read(self, list pairs not None, bint trailers, size_t max_bytes, int max_fields):
        """`begin`, and `add` each of the (name, value) pairs."""
        cdef bytes name, value
        self.begin(trailers, max_bytes, max_fields)
        for name, value in pairs:
            self.add(<const unsigned char *>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name),
                     <const unsigned char *>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))

    cdef int add(self, const unsigned char *name, size_t name_size, const unsigned char *value,
                 size_t value_size) except -1:
        """Take one field. What is wrong is remembered, and nothing is kept any more."""
        cdef uint32_t bit
        cdef int wrong
        self.taken += name_size + value_size + 4
        self.count += 1
        if self.wrong:
            return 0
        if name_size and name[0] == c":":
            self.wrong = self.add_pseudo(name, name_size, value, value_size)
            return 0
        wrong = unfit_name(name, name_size) or unfit_value(value, value_size)
        if not wrong and is_of_connection(name, name_size):
            wrong = BAD_HOP
        if wrong:
            self.wrong = wrong
            return 0
        bit = known(name, name_size)
        if self.taken > self.max_bytes or self.count > self.max_fields:
            self.too_large = True
            return 0
        if bit:
            if self.trailers and bit & (F_HOST | F_CONTENT_LENGTH):
                self.wrong = BAD_TRAILER
                return 0
            self.wrong = unfit(bit, self.seen, value, value_size)
            if bit == F_TE and not (value_size == 8 and memcmp(value, b"trailers", 8) == 0):
                self.wrong = BAD_TE
            if self.wrong:
                return 0
            self.seen |= bit
            if bit == F_HOST:
                self.host = PyBytes_FromStringAndSize(<const char *>value, value_size)
                return 0
            if bit == F_COOKIE and not self.trailers:  # crumbs are one field again (RFC 9113 8.2.3)
                if self.crumbs.size and not pile(&self.crumbs, b"; ", 2):
                    raise MemoryError
                if not pile(&self.crumbs, value, value_size):
                    raise MemoryError
                return 0
        self.put_line(name, name_size, value, value_size)
        return 0

    cdef int add_pseudo(self, const unsigned char *name, size_t name_size, const unsigned char *value,
                        size_t value_size) except? 0:
        """Take a pseudo-field; 0 or why not."""
        cdef bytes word
        if self.trailers:
            return BAD_PSEUDO
        if self.lines.size or self.seen or self.too_large:
            return BAD_ORDER
        if not visible(value, value_size):
            return BAD_TARGET
        if self.taken > self.max_bytes:
            self.too_large = True
            return 0
        if self.status >= 0:
            return self.add_status(name, name_size, value, value_size)
        if name_size == 7 and memcmp(name, b":method", 7) == 0:
            if self.method is not None:
                return BAD_PSEUDOS
            for i in range(<Py_ssize_t>value_size):
                if not is_token(value[i]):
                    return BAD_TARGET
            self.method = method_name(<const char *>value, value_size)
            return 0
        word = PyBytes_FromStringAndSize(<const char *>value, value_size)
        if name_size == 5 and memcmp(name, b":path", 5) == 0:
            if self.path is not None:
                return BAD_PSEUDOS
            self.path = word
        elif name_size == 7 and memcmp(name, b":scheme", 7) == 0:
            if self.scheme is not None:
                return BAD_PSEUDOS
            self.scheme = word
        elif name_size == 10 and memcmp(name, b":authority", 10) == 0:
            if self.authority is not None:
                return BAD_PSEUDOS
            self.authority = word
        elif name_size == 9 and memcmp(name, b":protocol", 9) == 0:
            if self.protocol is not None:
                return BAD_PSEUDOS
            self.protocol = word
        else:
            return BAD_PSEUDO
        return 0

    cdef int add_status(self, const unsigned char *name, size_t name_size, const unsigned char *value,
                        size_t value_size) noexcept:
        """Take :status; 0 or why not."""
        if name_size != 7 or memcmp(name, b":status", 7) != 0:
            return BAD_PSEUDO
        if self.status:
            return BAD_PSEUDOS
        if value_size != 3 or value[0] == c"0":
            return BAD_TARGET
        for i in range(3):
            if not c"0" <= value[i] <= c"9":
                return BAD_TARGET
            self.status = self.status * 10 + value[i] - c"0"
        return 0

    cdef int put_line(self, const void *name, size_t name_size, const void *value, size_t value_size) except -1:
        cdef Line line
        line.name = <uint32_t>self.lines.size
        line.name_size = <uint32_t>name_size
        line.value = <uint32_t>(self.lines.size + name_size + 2)
        line.value_size = <uint32_t>value_size
        if not (
            pile(&self.lines, name, name_size)
            and pile(&self.lines, b": ", 2)
            and pile(&self.lines, value, value_size)
            and pile(&self.lines, b"\r\n", 2)
            and pile(&self.index, &line, sizeof(Line))
        ):
            raise MemoryError
        return 0

    cpdef Fields fields(self):
        """What was taken, with Host from :authority where there is one, and Cookie in one line."""
        cdef Fields fields = Fields.__new__(Fields)
        cdef bytes host = self.authority if self.authority is not None else self.host
        if host is not None:
            self.put_line(b"host", 4, PyBytes_AS_STRING(host), PyBytes_GET_SIZE(host))
            self.seen |= F_HOST
        if self.crumbs.size:
            self.put_line(b"cookie", 6, self.crumbs.data, self.crumbs.size)
        fields.block = PyBytes_FromStringAndSize(self.lines.data, self.lines.size)
        fields.start = 0
        fields.end = self.lines.size
        fields.seen = self.seen
        fields.count = <int>(self.index.size // sizeof(Line))
        if fields.count:
            fields.lines = <Line *>PyMem_Malloc(self.index.size)
            if fields.lines == NULL:
                fields.count = -1
                raise MemoryError
            memcpy(fields.lines, self.index.data, self.index.size)
        return fields

    cpdef str why(self):
        """Which rule the section breaks; None if it breaks none."""
        cdef int wrong = self.wrong
        if not wrong and self.status >= 0:
            wrong = 0 if self.status or self.too_large else BAD_MISSING
        elif not wrong and not self.trailers and not self.too_large:
            if self.method is None or (
                (self.method != b"CONNECT" or self.protocol is not None)
                and (self.path is None or self.scheme is None)
            ):
                wrong = BAD_MISSING
            elif self.protocol is not None and self.method != b"CONNECT":
                wrong = BAD_PROTOCOL
        return RULES[wrong] if wrong else None
