"""Ports by the kernel, for programs that can't take port 0 and tell."""

import socket


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free just now. Another process may take it: try again if it did."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])
