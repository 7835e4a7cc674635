"""Plugins: what runs inside of the sandbox, and the host that starts, grants and watches."""
