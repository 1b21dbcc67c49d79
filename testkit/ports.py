"""Ports of this machine: one that stays with whoever asked for it, and whether somebody listens there."""

from __future__ import annotations

import socket
import sys


def free_port() -> int:
    """
    Return a port of the loopback interface that nobody else is given while this process lives.

    A socket that is bound but does not listen keeps the port from whoever takes any, other tests' processes and their
    connections included. The server that names the port, and its successors, may listen there (SO_REUSEADDR).
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port: int = holder.getsockname()[1]
    if sys.platform == "linux":
        # Open until this process ends.
        holder.detach()
    else:
        # There a server could not listen beside it.
        holder.close()
    return port


def accepts(port: int, *, timeout_seconds: float = 1) -> bool:
    """Tell whether somebody accepts connections on *port*."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=timeout_seconds).close()
    except OSError:
        return False
    return True
