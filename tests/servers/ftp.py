"""An FTP server over a directory, in a thread of its own.

    with FtpServer(tmp_path, user="me", password="secret") as server:
        url = server.url("/file.bin", auth=True)

FTPS is in `ftps.py`: this library needs pyOpenSSL for it.
"""

import threading
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from tests.servers.behaviours import Countdown
from tests.servers.tally import Tally

with warnings.catch_warnings():
    # It stands on asyncore, which Python 3.11 deprecates; later versions take it from a wheel.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pyftpdlib.authorizers import (
        AuthenticationFailed,
        DummyAuthorizer,
    )
    from pyftpdlib.handlers import (
        DTPHandler,
        FTPHandler,
        ThrottledDTPHandler,
    )
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer


class FtpServer:
    """Serves `root`, to `user` with `password` or, without a user, to anonymous (read only).

    `restart=False` knows no REST; `rate` is bytes per second for each transfer; `drop_after` cuts
    that many transfers (`drop_times`, None for all) after so many bytes; `refuse` are commands that
    the server does not know, such as `SIZE` or `MLSD`.
    """

    def __init__(
        self,
        root: Path,
        *,
        user: str = "",
        password: str = "",
        restart: bool = True,
        rate: int = 0,
        drop_after: int | None = None,
        drop_times: int | None = 1,
        refuse: tuple[str, ...] = (),
        host: str = "127.0.0.1",
    ) -> None:
        self.user, self.password, self.host = user, password, host
        self.tally = Tally()
        self.port = 0
        self._stopping = threading.Event()
        self._loop: Any = None
        self._handler = _handler(self.tally)
        self._handler.authorizer = _authorizer(root, user, password)
        self._handler.dtp_handler = _data(rate, drop_after, drop_times)
        unknown = {*refuse, *(() if restart else ("REST",))}
        known = FTPHandler.proto_cmds.items()
        self._handler.proto_cmds = {name: how for name, how in known if name not in unknown}
        self._thread = threading.Thread(target=self._serve, name="ftp", daemon=True)

    def url(self, path: str = "/", *, auth: bool = False) -> str:
        at = f"{quote(self.user)}:{quote(self.password)}@" if auth and self.user else ""
        return f"ftp://{at}{self.host}:{self.port}{quote(path)}"

    def __enter__(self) -> Self:
        self._loop = IOLoop()
        self._server = FTPServer((self.host, 0), self._handler, ioloop=self._loop)
        self.port = self._server.address[1]
        self._thread.start()
        return self

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self._server.serve_forever(timeout=0.05, blocking=False, handle_exit=False)
        self._server.close_all()
        self._loop.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join(10)


def _authorizer(root: Path, user: str, password: str) -> Any:
    class Authorizer(DummyAuthorizer):
        def validate_authentication(self, name: str, given: str, handler: Any) -> None:
            if name not in self.user_table or (name == user and given != password):
                raise AuthenticationFailed("wrong user or password")

    authorizer = Authorizer()
    if user:
        authorizer.add_user(user, password, str(root), perm="elradfmwMT")
    else:
        authorizer.add_anonymous(str(root))
    return authorizer


def _handler(tally: Tally) -> Any:
    class Handler(FTPHandler):
        use_sendfile = False
        # It would answer a wrong password after three seconds.
        auth_failed_timeout = 0
        restarted = 0

        def on_connect(self) -> None:
            tally.opened(self.remote_ip)

        def on_disconnect(self) -> None:
            tally.closed()

        def on_login(self, username: str) -> None:
            tally.logins.append(username)

        def on_login_failed(self, username: str, password: str) -> None:
            tally.refused.append(username)

        def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
            if cmd != "PASS":
                tally.commands.append((cmd, arg))
            super().pre_process_command(line, cmd, arg)

        def ftp_RETR(self, file: str) -> Any:  # noqa: N802
            self.restarted = self._restart_position
            return super().ftp_RETR(file)

        def log_transfer(self, cmd: str, filename: Any, **more: Any) -> None:
            offset = self.restarted if cmd == "RETR" else 0
            tally.move(cmd, str(filename), offset, more["bytes"])

        def log(self, *_: Any, **__: Any) -> None:
            pass

    return Handler


def _data(rate: int, drop_after: int | None, drop_times: int | None) -> Any:
    base = ThrottledDTPHandler if rate else DTPHandler
    count = Countdown(drop_times)

    class Data(base):  # type: ignore[valid-type,misc]
        read_limit = write_limit = rate
        dropping: bool | None = None

        def send(self, data: bytes) -> int:
            left = len(data) if drop_after is None else drop_after - self.tot_bytes_sent
            if left < len(data) and self.dropping is None:
                self.dropping = count.take()
            if not self.dropping:
                return int(super().send(data))
            if left <= 0:
                # Not from within a write of the channel that is to be closed.
                self.ioloop.call_later(0, self.cmd_channel.close)
                return 0
            return int(super().send(data[:left]))

    return Data
