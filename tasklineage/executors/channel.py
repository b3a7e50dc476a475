"""Messages between a process and its worker: a kind, some bytes, and descriptors.

    offset  bytes  content
    0       1      kind
    1       1      number of descriptors that come with it
    8       8      length of the content

They go over a pair of connected sockets, so that descriptors can be passed.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

CALL, TOLD, RETURNED, RAISED, UNSENT = range(1, 6)
"""A call; what it tells while it runs; its value; its exception; what neither could be sent."""
_HEAD = struct.Struct("<BB6xQ")
_MOST_FDS = 16
_SHORT = 1 << 16
"""Bytes that are copied to be sent with their head."""


class Message(NamedTuple):
    """One message as it was received; whoever has it owns the descriptors."""

    kind: int
    content: bytes
    fds: tuple[int, ...] = ()


def send(channel: socket.socket, kind: int, content: bytes, fds: Sequence[int] = ()) -> None:
    """Send a message.

    Raises
    ------
    OSError
        Nobody is there to read it.
    """
    head = _HEAD.pack(kind, len(fds), len(content))
    if fds:
        socket.send_fds(channel, [head], list(fds))
        channel.sendall(content)
    elif len(content) < _SHORT:
        channel.sendall(head + content)
    else:
        channel.sendall(head)
        channel.sendall(content)


def receive(channel: socket.socket) -> Message | None:
    """The next message, waited for; None: there will be none, not even the rest of this one.

    Raises
    ------
    TimeoutError
        The channel has a time limit, and it is over. The channel is of no use afterwards if part
        of a message had arrived.
    OSError
        The other end has gone.
    """
    head, fds, _, _ = socket.recv_fds(channel, _HEAD.size, _MOST_FDS)
    while 0 < len(head) < _HEAD.size:
        more = channel.recv(_HEAD.size - len(head))
        if not more:
            return None
        head += more
    if not head:
        return None
    kind, _, length = _HEAD.unpack(head)
    content = bytearray(length)
    view, at = memoryview(content), 0
    while at < length:
        count = channel.recv_into(view[at:])
        if not count:
            return None
        at += count
    return Message(kind, bytes(content), tuple(fds))
