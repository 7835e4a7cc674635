"""`rclone serve` over a directory, and an rclone.conf that names it.

    with Serve("s3", tmp_path) as served:
        served.write_config(tmp_path / "rclone.conf", "store")   # then `store:bucket/key`

Buckets of S3 are the directories of the root: three letters or more. `serve s3` keeps what is
uploaded in memory until it is whole, so keep files small.
"""

import configparser
import os
import subprocess
import sysconfig
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.servers.ports import free_port
from tests.servers.program import Program, ProgramFailed

Kind = Literal["s3", "webdav", "sftp", "http", "ftp"]
_READY = {
    "s3": r"server on \[(\S+)\]",
    "webdav": r"Server started on \[(\S+)\]",
    "http": r"Server started on \[(\S+)\]",
    "sftp": r"listening on (\S+)",
    "ftp": r"Serving FTP on (\S+)",
}


def program() -> str:
    """The rclone of this environment."""
    return str(Path(sysconfig.get_path("scripts")) / "rclone")


class Serve:
    """One `rclone serve`; `arguments` go to it as they are."""

    user = "AKIDEXAMPLE"
    password = "not-a-secret-key"

    def __init__(
        self,
        kind: Kind,
        root: Path,
        *,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.kind, self.root = kind, root
        self._arguments = arguments
        self.port = 0
        self._program: Program | None = None

    def _argv(self, port: int) -> list[str]:
        argv = [program(), "serve", self.kind, "--config", os.devnull]
        argv += ["--addr", f"127.0.0.1:{port}", "--dir-cache-time", "0s"]
        if self.kind == "s3":
            argv += ["--auth-key", f"{self.user},{self.password}"]
        else:
            argv += ["--user", self.user, "--pass", self.password]
        if self.kind in ("webdav", "sftp", "ftp"):
            argv += ["--vfs-cache-mode", "writes"]
        return [*argv, *self._arguments, str(self.root)]

    def __enter__(self) -> Self:
        for _ in range(5):
            # `serve ftp` alone does not tell which port it was given.
            wanted = free_port() if self.kind == "ftp" else 0
            self._program = Program(self._argv(wanted), _environment(self.root))
            try:
                found = self._program.expect(_READY[self.kind])
            except ProgramFailed as failed:
                self._program.stop()
                if "address already in use" not in str(failed):
                    raise
                continue
            self.port = int(found[1].rstrip("/").rpartition(":")[2])
            return self
        raise ProgramFailed("no port was left free for it")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._program is not None:
            self._program.stop()

    @property
    def output(self) -> str:
        return self._program.output if self._program else ""

    @property
    def endpoint(self) -> str:
        scheme = self.kind if self.kind in ("sftp", "ftp") else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    def section(self) -> dict[str, str]:
        """What rclone.conf says about this server; passwords obscured as rclone wants them."""
        if self.kind == "s3":
            return {
                "type": "s3",
                "provider": "Rclone",
                "endpoint": self.endpoint,
                "access_key_id": self.user,
                "secret_access_key": self.password,
                "use_multipart_uploads": "true",
            }
        where = {"host": "127.0.0.1", "port": str(self.port)}
        who = {"user": self.user, "pass": obscure(self.password)}
        if self.kind == "http":
            secret = f"{self.user}:{self.password}@"
            return {"type": "http", "url": self.endpoint.replace("://", f"://{secret}")}
        if self.kind == "webdav":
            return {"type": "webdav", "vendor": "rclone", "url": self.endpoint} | who
        return {"type": self.kind} | where | who

    def write_config(self, path: Path, remote: str = "remote") -> Path:
        """Add the server to an rclone.conf as `remote:`; makes the file if there is none."""
        return write_config(path, {remote: self.section()})


def write_config(path: Path, sections: dict[str, dict[str, str]]) -> Path:
    """Add remotes to an rclone.conf, such as `{"disk": {"type": "alias", "remote": "/tmp/x"}}`."""
    config = configparser.RawConfigParser()
    config.read(path)
    for name, options in sections.items():
        config[name] = options
    with path.open("w") as file:
        config.write(file)
    path.chmod(0o600)
    return path


def obscure(password: str) -> str:
    """A password as rclone.conf holds it."""
    done = subprocess.run(
        [program(), "obscure", "-"], input=password, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _environment(root: Path) -> dict[str, str]:
    # What the user has set must not reach a test, nor a test the user's cache.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RCLONE_")}
    cache = root.parent / f".{root.name}-rclone-cache"
    return kept | {"RCLONE_CACHE_DIR": str(cache), "XDG_CACHE_HOME": str(cache)}
