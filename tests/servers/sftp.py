"""An SFTP server over a directory, in a thread and an event loop of its own.

with SftpServer(tmp_path, user="me", password="secret") as server:
    url = server.url("/file.bin", auth=True)
"""

import asyncio
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import asyncssh

from tests.servers.behaviours import Countdown
from tests.servers.tally import Tally


class SftpServer:
    """Serves `root` to `user`, by password, and by `client_key` when `key` is asked for.

    `rate` is bytes per second over all reads of a session; `drop_after` cuts a connection once so
    many bytes were read over it, `drop_times` times.
    """

    def __init__(
        self,
        root: Path,
        *,
        user: str = "me",
        password: str | None = "secret",
        key: bool = False,
        rate: float = 0,
        drop_after: int | None = None,
        drop_times: int | None = 1,
        host: str = "127.0.0.1",
    ) -> None:
        self.root, self.user, self.password, self.host = root, user, password, host
        self.rate, self.drop_after = rate, drop_after
        self.drops = Countdown(drop_times)
        self.tally = Tally()
        self.port = 0
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.client_key = asyncssh.generate_private_key("ssh-ed25519") if key else None
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sftp", daemon=True)

    def url(self, path: str = "/", *, auth: bool = False) -> str:
        secret = f":{quote(self.password)}" if self.password else ""
        at = f"{quote(self.user)}{secret}@" if auth else ""
        return f"sftp://{at}{self.host}:{self.port}{quote(path)}"

    @property
    def known_hosts(self) -> str:
        """A line for a `known_hosts` file."""
        public = self.host_key.export_public_key().decode().strip()
        return f"[{self.host}]:{self.port} {public}\n"

    def write_client_key(self, directory: Path) -> tuple[Path, Path]:
        """The private and the public key of the client as files."""
        if self.client_key is None:
            raise ValueError("the server was made without key=True")
        private, public = directory / "id_ed25519", directory / "id_ed25519.pub"
        self.client_key.write_private_key(str(private))
        private.chmod(0o600)
        self.client_key.write_public_key(str(public))
        return private, public

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        if self._failed is not None:
            raise self._failed
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except (OSError, asyncssh.Error) as error:
            self._failed = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        connections: set[asyncssh.SSHServerConnection] = set()
        acceptor = await asyncssh.listen(
            self.host,
            0,
            server_factory=lambda: _Login(self, connections),
            sftp_factory=lambda channel: _Files(self, channel),
            server_host_keys=[self.host_key],
            allow_scp=False,
        )
        self.port = acceptor.get_port()
        self._ready.set()
        await self._stop.wait()
        acceptor.close()
        for connection in connections:
            connection.abort()
        await acceptor.wait_closed()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class _Login(asyncssh.SSHServer):
    def __init__(self, server: SftpServer, connections: set[asyncssh.SSHServerConnection]) -> None:
        self._server = server
        self._connections = connections
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)
        self._server.tally.opened(str(conn.get_extra_info("peername")[0]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._connections.discard(self._connection)
        self._server.tally.closed()

    def begin_auth(self, username: str) -> bool:
        return True

    def auth_completed(self) -> None:
        self._server.tally.logins.append(self._server.user)

    def password_auth_supported(self) -> bool:
        return self._server.password is not None

    def validate_password(self, username: str, password: str) -> bool:
        good = (username, password) == (self._server.user, self._server.password)
        if not good:
            self._server.tally.refused.append(username)
        return good

    def public_key_auth_supported(self) -> bool:
        return self._server.client_key is not None

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        wanted = self._server.client_key
        known = wanted is not None and key.public_data == wanted.public_data
        return known and username == self._server.user


class _Files(asyncssh.SFTPServer):
    def __init__(self, server: SftpServer, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        super().__init__(channel, chroot=os.fsencode(server.root))
        self._server = server
        self._channel = channel
        self._given = 0
        self._next = 0.0

    async def read(self, file_obj: Any, offset: int, size: int) -> bytes:
        server = self._server
        due = server.drop_after is not None and self._given >= server.drop_after
        if due and server.drops.take():
            self._channel.get_connection().abort()
            return b""
        data = bytes(super().read(file_obj, offset, size))  # type: ignore[arg-type]
        self._given += len(data)
        if server.rate:
            # Many reads are on the way at a time: each gets its turn after the one before.
            now = asyncio.get_running_loop().time()
            self._next = max(now, self._next) + len(data) / server.rate
            await asyncio.sleep(self._next - now)
        server.tally.move("read", os.fsdecode(file_obj.name), offset, len(data))
        return data

    def write(self, file_obj: Any, offset: int, data: bytes) -> int:
        self._server.tally.move("write", os.fsdecode(file_obj.name), offset, len(data))
        super().write(file_obj, offset, data)
        return len(data)
