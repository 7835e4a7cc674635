"""FTP over TLS, explicit (`AUTH TLS`) or implicit, read only, with a thread for each client.

with FtpsServer(tmp_path, authority.server()) as server:
    url = server.url("/file.bin", auth=True)
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from tests.servers.tally import Tally


class FtpsServer:
    """Serves the files of `root`. `protected` tells for each transfer whether its data was."""

    def __init__(
        self,
        root: Path,
        tls: ssl.SSLContext,
        *,
        implicit: bool = False,
        user: str = "me",
        password: str = "secret",
    ) -> None:
        self.root, self.tls, self.implicit = root.resolve(), tls, implicit
        self.user, self.password = user, password
        self.tally = Tally()
        self.protected: list[bool] = []
        self.port = 0
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def url(self, path: str = "/", *, auth: bool = False) -> str:
        """The address; one of an explicit server is `ftp://`, and the client asks for TLS."""
        at = f"{quote(self.user)}:{quote(self.password)}@" if auth else ""
        return f"{'ftps' if self.implicit else 'ftp'}://{at}127.0.0.1:{self.port}{quote(path)}"

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.port = self._listener.getsockname()[1]
        self._open = True
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="ftps", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while self._open:
            try:
                sock, address = self._listener.accept()
            except TimeoutError:
                continue
            self._start(self._serve, sock, str(address[0]))

    def _serve(self, sock: socket.socket, peer: str) -> None:
        self.tally.opened(peer)
        sock.settimeout(30)
        try:
            with _Session(self, sock) as session, contextlib.suppress(OSError):
                session.run()
        finally:
            self.tally.closed()

    def keep(self, sock: socket.socket) -> socket.socket:
        """Remember a socket, to end it when the server ends."""
        self._sockets.add(sock)
        return sock


class _Session:
    """One control connection: each command is a method."""

    def __init__(self, server: FtpsServer, sock: socket.socket) -> None:
        self._server = server
        self._sock = server.keep(sock)
        self._lines: BufferedReader | None = None
        self._data: socket.socket | None = None
        self._user = ""
        self._inside = False
        self._private = False
        self._at = Path("/")
        self._offset = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for closing in (self._lines, self._data, self._sock):
            if closing is not None:
                closing.close()

    def run(self) -> None:
        if self._server.implicit:
            self._secure()
        self._lines = self._sock.makefile("rb")
        self._say("220 ready")
        while line := self._lines.readline(4096):
            name, _, argument = line.decode().strip().partition(" ")
            if name.upper() != "PASS":
                self._server.tally.commands.append((name.upper(), argument))
            command = getattr(self, f"_do_{name.lower()}", None)
            open_to_all = name.upper() in ("AUTH", "USER", "PASS", "PBSZ", "PROT", "QUIT", "FEAT")
            if command is None:
                self._say("502 not known")
            elif not self._inside and not open_to_all:
                self._say("530 log in first")
            else:
                command(argument)

    def _say(self, line: str) -> None:
        self._sock.sendall(f"{line}\r\n".encode())

    def _secure(self) -> None:
        secure = self._server.tls.wrap_socket(
            self._sock, server_side=True, do_handshake_on_connect=False
        )
        self._sock = self._server.keep(secure)
        secure.do_handshake()

    def _do_auth(self, argument: str) -> None:
        self._say("234 go on in TLS")
        if self._lines is not None:
            self._lines.close()
        self._secure()
        self._lines = self._sock.makefile("rb")

    def _do_feat(self, argument: str) -> None:
        self._say("211-Features\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n REST STREAM\r\n SIZE\r\n211 End")

    def _do_user(self, argument: str) -> None:
        self._user = argument
        self._say("331 and the password")

    def _do_pass(self, argument: str) -> None:
        self._inside = (self._user, argument) == (self._server.user, self._server.password)
        (self._server.tally.logins if self._inside else self._server.tally.refused).append(
            self._user
        )
        self._say("230 welcome" if self._inside else "530 wrong user or password")

    def _do_pbsz(self, argument: str) -> None:
        self._say("200 PBSZ=0")

    def _do_prot(self, argument: str) -> None:
        self._private = argument.upper() == "P"
        self._say("200 done")

    def _do_quit(self, argument: str) -> None:
        self._say("221 bye")

    def _do_pwd(self, argument: str) -> None:
        self._say(f'257 "{self._at}"')

    def _do_cwd(self, argument: str) -> None:
        self._at = self._at / argument
        self._say("250 done")

    def _do_type(self, argument: str) -> None:
        self._say("200 done")

    def _do_epsv(self, argument: str) -> None:
        self._data = self._server.keep(socket.create_server(("127.0.0.1", 0)))
        self._data.settimeout(10)
        self._say(f"229 (|||{self._data.getsockname()[1]}|)")

    def _do_rest(self, argument: str) -> None:
        self._offset = int(argument)
        self._say("350 from there")

    def _do_size(self, argument: str) -> None:
        path = self._find(argument)
        self._say(f"213 {path.stat().st_size}" if path else "550 no such file")

    def _do_retr(self, argument: str) -> None:
        path, listener = self._find(argument), self._data
        if path is None or listener is None:
            self._say("550 no such file")
            return
        self._say("150 here it comes")
        offset, self._offset = self._offset, 0
        with listener:
            sock, _ = listener.accept()
        self._server.protected.append(self._private)
        count = self._send(self._server.keep(sock), path.read_bytes()[offset:])
        self._server.tally.move("RETR", argument, offset, count)
        self._say("226 done")

    def _send(self, sock: socket.socket, data: bytes) -> int:
        if not self._private:
            with sock:
                sock.sendall(data)
            return len(data)
        with self._server.tls.wrap_socket(sock, server_side=True) as secure:
            self._server.keep(secure)
            secure.sendall(data)
            # An end without a goodbye counts as cut off.
            with contextlib.suppress(OSError):
                secure.unwrap().close()
        return len(data)

    def _find(self, argument: str) -> Path | None:
        path = (self._server.root / str(self._at / argument).lstrip("/")).resolve()
        return path if path.is_relative_to(self._server.root) and path.is_file() else None
