"""What an FTP or SFTP server saw and moved."""

import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Moved:
    """Bytes of one file that went one way; `verb` is RETR, STOR, APPE, read or write."""

    verb: str
    path: str
    offset: int
    count: int


@dataclass
class Tally:
    """Counted by the server's thread, read by the test."""

    connections: int = 0
    open_connections: int = 0
    max_connections: int = 0
    logins: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def opened(self, peer: str) -> None:
        with self._lock:
            self.connections += 1
            self.open_connections += 1
            self.max_connections = max(self.max_connections, self.open_connections)
            self.peers.append(peer)

    def closed(self) -> None:
        with self._lock:
            self.open_connections -= 1

    def move(self, verb: str, path: str, offset: int, count: int) -> None:
        with self._lock:
            self.moved.append(Moved(verb, path, offset, count))

    def commanded(self, name: str) -> list[str]:
        """The arguments of each use of a command, in order."""
        return [argument for command, argument in list(self.commands) if command == name]

    @property
    def bytes_sent(self) -> int:
        return sum(item.count for item in list(self.moved) if item.verb in ("RETR", "read"))

    @property
    def bytes_received(self) -> int:
        return sum(item.count for item in list(self.moved) if item.verb not in ("RETR", "read"))
