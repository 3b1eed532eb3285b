"""Which socket of a reuseport group the kernel gives a connection or a datagram to: classic BPF programs.

A program sees what follows the TCP or UDP header and returns the number of a socket in its group, which is
its lane. It needs no privilege. Knows no group, no listener and no worker.
"""

import ctypes
import socket
import struct

# Linux constants the socket module does not name (asm-generic/socket.h, linux/filter.h, linux/bpf_common.h).
_SO_ATTACH_REUSEPORT_CBPF = 51
_SO_DETACH_REUSEPORT_BPF = 68
_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_LOAD_BYTE = 0x30  # BPF_LD | BPF_B | BPF_ABS; beyond the datagram's end the program returns 0
_JUMP = 0x05  # BPF_JMP | BPF_JA
_JUMP_IF_SET = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_MODULO = 0x94  # BPF_ALU | BPF_MOD | BPF_K
_RETURN_A = 0x16  # BPF_RET | BPF_A
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM

_LONG_HEADER = 0x80  # of the first byte (RFC 8999 5.1)
_SHORT_ID = 1  # where the connection ID begins (RFC 8999 5.2)
_LONG_ID = 6  # behind the version and the ID's length (RFC 8999 5.1)

Program = tuple[tuple[int, int, int, int], ...]  # code, jump if true, jump if false, operand


def to_any(lanes: int) -> Program:
    """Any of the first `lanes` lanes, evenly."""
    return ((_LOAD_WORD, 0, 0, _RANDOM), (_MODULO, 0, 0, lanes), (_RETURN_A, 0, 0, 0))


def by_connection_id(lanes: int) -> Program:
    """The lane that the first byte of a QUIC packet's Destination Connection ID names, modulo `lanes`.

    In an ID of our making that byte is the lane; in the first one, which the client makes up, it is
    random. What is too short to have one goes to lane 0.
    """
    return (
        (_LOAD_BYTE, 0, 0, 0),
        (_JUMP_IF_SET, 0, 2, _LONG_HEADER),
        (_LOAD_BYTE, 0, 0, _LONG_ID),
        (_JUMP, 0, 0, 1),
        (_LOAD_BYTE, 0, 0, _SHORT_ID),
        (_MODULO, 0, 0, lanes),
        (_RETURN_A, 0, 0, 0),
    )


def attach(member: socket.socket, program: Program) -> None:
    """Let `program` choose for the group of `member`, those that join later included. Raises OSError."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    option = struct.pack("@HxxxxxxP", len(program), ctypes.addressof(code))
    member.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, option)


def detach(member: socket.socket) -> None:
    """The kernel's own hash of addresses and ports chooses again. FileNotFoundError: nothing was attached."""
    member.setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)
