# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Many datagrams per system call: recvmmsg, sendmmsg, and UDP_SEGMENT (GSO) for runs to one peer.

`UdpPort` has the face of `port.Port`; `udp.pyi` says what it promises. Nothing waits. The buffers are the
process's, used under the GIL and never across a call.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_FromString
from libc.errno cimport EAGAIN, EINTR, EIO, errno
from libc.stdint cimport uint16_t, uint32_t
from libc.stdlib cimport atoi
from libc.string cimport memcmp, memcpy, memset, strchr

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8(object) except NULL

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <netinet/in.h>
    #include <netinet/udp.h>
    #include <string.h>
    #include <sys/socket.h>

    #ifndef UDP_SEGMENT
    #define UDP_SEGMENT 103
    #endif

    typedef union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } udp_address;

    /* Which of our addresses a datagram came to, as it is given back when we answer. */
    typedef struct {
        int size; /* 0: nothing known */
        union {
            struct in_pktinfo v4;
            struct in6_pktinfo v6;
        } is;
    } udp_local;

    static void udp_read_local(struct msghdr *head, udp_local *local)
    {
        struct cmsghdr *part;

        memset(local, 0, sizeof *local);
        for (part = CMSG_FIRSTHDR(head); part; part = CMSG_NXTHDR(head, part)) {
            if (part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_PKTINFO) {
                memcpy(&local->is.v4, CMSG_DATA(part), sizeof local->is.v4);
                /* It answers from ipi_spec_dst; a route picks the interface (ip(7)). */
                local->is.v4.ipi_ifindex = 0;
                local->size = sizeof local->is.v4;
            } else if (part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == IPV6_PKTINFO) {
                memcpy(&local->is.v6, CMSG_DATA(part), sizeof local->is.v6);
                if (!IN6_IS_ADDR_LINKLOCAL(&local->is.v6.ipi6_addr))
                    local->is.v6.ipi6_ifindex = 0;
                local->size = sizeof local->is.v6;
            }
        }
    }

    static struct cmsghdr *udp_next_part(struct msghdr *head, int level, int type, const void *data, size_t size)
    {
        struct cmsghdr *part = (struct cmsghdr *)((char *)head->msg_control + head->msg_controllen);

        part->cmsg_level = level;
        part->cmsg_type = type;
        part->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(part), data, size);
        head->msg_controllen += CMSG_SPACE(size);
        return part;
    }

    static void udp_write_local(struct msghdr *head, const udp_local *local)
    {
        if (local->size == sizeof local->is.v4)
            udp_next_part(head, IPPROTO_IP, IP_PKTINFO, &local->is.v4, sizeof local->is.v4);
        else if (local->size)
            udp_next_part(head, IPPROTO_IPV6, IPV6_PKTINFO, &local->is.v6, sizeof local->is.v6);
    }

    static void udp_write_segment(struct msghdr *head, uint16_t size)
    {
        udp_next_part(head, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size);
    }

    /* Is it bound to every address of this host? */
    static int udp_is_wildcard(int fd)
    {
        udp_address bound;
        socklen_t size = sizeof bound;

        if (getsockname(fd, &bound.any, &size))
            return 0;
        if (bound.any.sa_family == AF_INET6)
            return IN6_IS_ADDR_UNSPECIFIED(&bound.v6.sin6_addr);
        return bound.v4.sin_addr.s_addr == htonl(INADDR_ANY);
    }

    static int udp_want_local(int fd)
    {
        int on = 1;

        return setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on)
            & setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
    }

    static int udp_has_segments(int fd)
    {
        int size;
        socklen_t length = sizeof size;

        return !getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, &length);
    }
    """
    ctypedef unsigned short sa_family_t
    ctypedef unsigned int socklen_t
    int AF_INET
    int AF_INET6
    int MSG_DONTWAIT
    int MSG_TRUNC

    struct sockaddr:
        sa_family_t sa_family
    struct in_addr:
        pass
    struct in6_addr:
        pass
    struct sockaddr_in:
        uint16_t sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        uint16_t sin6_port
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    ctypedef union udp_address:
        sockaddr any
        sockaddr_in v4
        sockaddr_in6 v6
    ctypedef struct udp_local:
        int size
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len

    int recvmmsg(int, mmsghdr *, unsigned int, int, void *) nogil
    int sendmmsg(int, mmsghdr *, unsigned int, int) nogil
    const char *inet_ntop(int, const void *, char *, socklen_t)
    int inet_pton(int, const char *, void *)
    uint16_t htons(uint16_t)
    uint16_t ntohs(uint16_t)
    void udp_read_local(msghdr *, udp_local *)
    void udp_write_local(msghdr *, const udp_local *)
    void udp_write_segment(msghdr *, uint16_t)
    bint udp_is_wildcard(int)
    int udp_want_local(int)
    bint udp_has_segments(int)

cdef enum:
    AT_ONCE = 64  # datagrams per `receive`, messages per sendmmsg
    DATAGRAM = 2048  # largest taken in: QUIC's fit into the packets of networks as they are
    PIECES = 512  # datagrams per sendmmsg
    SEGMENTS = 64  # datagrams per message (UDP_MAX_SEGMENTS of the first kernels that had it)
    RUN_BYTES = 64000  # of one message: what fits into an IP packet, with room for its headers
    CONTROL = 128  # bytes of ancillary data per message
    PEERS = 16384  # whose local address is remembered

cdef char received[AT_ONCE][DATAGRAM]
cdef udp_address names[AT_ONCE]
cdef char controls[AT_ONCE][CONTROL]
cdef iovec pieces[PIECES]
cdef mmsghdr messages[AT_ONCE]


cdef class UdpPort:
    """See udp.pyi."""

    cdef object sock
    cdef int fd
    cdef bint wildcard  # answers must name the address that was asked
    cdef readonly unsigned long long received, sent  # datagrams
    cdef readonly bint segments  # the kernel cuts runs into datagrams for us
    cdef dict local  # by peer, on a wildcard socket: a udp_local as bytes
    cdef udp_address last_name  # the peer that `last` is
    cdef tuple last

    def __init__(self, sock):
        self.sock = sock
        self.fd = sock.fileno()
        self.wildcard = udp_is_wildcard(self.fd)
        if self.wildcard:
            udp_want_local(self.fd)
        self.segments = udp_has_segments(self.fd)
        self.local = {}

    def fileno(self):
        return self.fd

    def receive(self):
        cdef int count, i
        cdef list found = []
        cdef tuple peer
        for i in range(AT_ONCE):
            pieces[i].iov_base = received[i]
            pieces[i].iov_len = DATAGRAM
            _prepare(i, &pieces[i], sizeof(udp_address))
            messages[i].msg_hdr.msg_controllen = CONTROL if self.wildcard else 0
        count = recvmmsg(self.fd, messages, AT_ONCE, MSG_DONTWAIT, NULL)
        if count < 0:
            if errno == EAGAIN or errno == EINTR:
                return found
            raise OSError(errno, "cannot receive datagrams")
        self.received += count
        for i in range(count):
            if messages[i].msg_hdr.msg_flags & MSG_TRUNC:
                continue
            peer = self.peer_of(&names[i])
            if self.wildcard:
                self.remember(peer, &messages[i].msg_hdr)
            found.append((PyBytes_FromStringAndSize(received[i], messages[i].msg_len), peer))
        return found

    def send(self, list datagrams not None):
        cdef Py_ssize_t begun = 0, total = len(datagrams), unsegmented = 0
        cdef Py_ssize_t ends[AT_ONCE]
        cdef int count, sent
        while begun < total:
            count = self.fill(datagrams, begun, unsegmented, ends)
            sent = sendmmsg(self.fd, messages, count, MSG_DONTWAIT)
            if sent > 0:
                self.sent += ends[sent - 1] - begun
                begun = ends[sent - 1]
            elif errno == EAGAIN:
                return total - begun
            elif errno != EINTR and ends[0] - begun > 1:
                # No such thing on this device (EIO), or they do not fit its packets: one by one.
                if errno == EIO:
                    self.segments = False
                unsegmented = ends[0]
            elif errno != EINTR:
                begun = ends[0]  # it cannot go: lost, as on the way
        return 0

    cdef int fill(self, list datagrams, Py_ssize_t begun, Py_ssize_t unsegmented, Py_ssize_t *ends) except -1:
        """Lay out messages from datagram `begun` on; where each ends. Before `unsegmented` no runs."""
        cdef Py_ssize_t end = begun, total = len(datagrams), first
        cdef int count = 0
        cdef tuple datagram, peer
        cdef bytes data, local
        while count < AT_ONCE and end < total and end - begun < PIECES:
            first = end
            end = self.run(datagrams, begun, first, first < unsegmented)
            datagram = datagrams[first]
            data, peer = datagram
            _prepare(count, &pieces[first - begun], self.name_of(peer, &names[count]))
            messages[count].msg_hdr.msg_iovlen = end - first
            if self.wildcard:
                local = self.local.get(peer)
                if local is not None:
                    udp_write_local(&messages[count].msg_hdr, <const udp_local *>PyBytes_AS_STRING(local))
            if end - first > 1:
                udp_write_segment(&messages[count].msg_hdr, <uint16_t>PyBytes_GET_SIZE(data))
            ends[count] = end
            count += 1
        return count

    cdef Py_ssize_t run(self, list datagrams, Py_ssize_t begun, Py_ssize_t first, bint alone) except -1:
        """Where the message that begins with datagram `first` ends: all to one peer, of one size but the last."""
        cdef Py_ssize_t end = first, total = len(datagrams), size = 0, length, sum = 0
        cdef tuple datagram, peer = None
        cdef bytes data
        while end < total and end - begun < PIECES:
            datagram = datagrams[end]
            data = datagram[0]
            length = PyBytes_GET_SIZE(data)
            if end == first:
                size, peer = length, datagram[1]
            elif length > size or sum + length > RUN_BYTES or not length or end - first == SEGMENTS:
                break
            elif datagram[1] is not peer and datagram[1] != peer:
                break
            pieces[end - begun].iov_base = PyBytes_AS_STRING(data)
            pieces[end - begun].iov_len = length
            sum += length
            end += 1
            if length < size or alone or not self.segments:
                break
        return end

    cdef tuple peer_of(self, udp_address *name):
        """The Address of a datagram's sender; the same object while it is the same."""
        cdef char text[64]
        if self.last is not None and not memcmp(name, &self.last_name, _size(name)):
            return self.last
        if name.any.sa_family == AF_INET6:
            inet_ntop(AF_INET6, &name.v6.sin6_addr, text, sizeof(text))
            host = PyUnicode_FromString(text)
            if name.v6.sin6_scope_id:
                host = f"{host}%{name.v6.sin6_scope_id}"
            self.last = (host, ntohs(name.v6.sin6_port))
        else:
            inet_ntop(AF_INET, &name.v4.sin_addr, text, sizeof(text))
            self.last = (PyUnicode_FromString(text), ntohs(name.v4.sin_port))
        memcpy(&self.last_name, name, sizeof(udp_address))
        return self.last

    cdef socklen_t name_of(self, tuple peer, udp_address *name) except 0:
        """Write an Address as the kernel has it; its size. ValueError: it is not numeric."""
        cdef char text[64]
        cdef const char *host
        cdef const char *scope
        if peer is self.last:
            memcpy(name, &self.last_name, sizeof(udp_address))
            return _size(name)
        memset(name, 0, sizeof(udp_address))
        host = PyUnicode_AsUTF8(peer[0])
        if strchr(host, b":") != NULL:
            name.any.sa_family = AF_INET6
            name.v6.sin6_port = htons(peer[1])
            scope = strchr(host, b"%")
            if scope != NULL and scope - host < <Py_ssize_t>sizeof(text):
                memcpy(text, host, scope - host)
                text[scope - host] = 0
                host = text
                name.v6.sin6_scope_id = atoi(scope + 1)
            if inet_pton(AF_INET6, host, &name.v6.sin6_addr) != 1:
                raise ValueError(f"{peer[0]!r} is no address")
        else:
            name.any.sa_family = AF_INET
            name.v4.sin_port = htons(peer[1])
            if inet_pton(AF_INET, host, &name.v4.sin_addr) != 1:
                raise ValueError(f"{peer[0]!r} is no address")
        self.last = peer
        memcpy(&self.last_name, name, sizeof(udp_address))
        return _size(name)

    cdef int remember(self, tuple peer, msghdr *head) except -1:
        """Keep which of our addresses `peer` speaks to."""
        cdef udp_local local
        cdef bytes known = self.local.get(peer)
        udp_read_local(head, &local)
        if known is None or memcmp(PyBytes_AS_STRING(known), &local, sizeof(local)):
            if len(self.local) >= PEERS:
                self.local.clear()  # each is known again with its next datagram, before it is answered
            self.local[peer] = PyBytes_FromStringAndSize(<char *>&local, sizeof(local))
        return 0


cdef void _prepare(int i, iovec *piece, socklen_t name_size) noexcept:
    cdef msghdr *head = &messages[i].msg_hdr
    head.msg_name = &names[i]
    head.msg_namelen = name_size
    head.msg_iov = piece
    head.msg_iovlen = 1
    head.msg_control = controls[i]
    head.msg_controllen = 0
    head.msg_flags = 0


cdef socklen_t _size(udp_address *name) noexcept:
    return sizeof(sockaddr_in6) if name.any.sa_family == AF_INET6 else sizeof(sockaddr_in)
