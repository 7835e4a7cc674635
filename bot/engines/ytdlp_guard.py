"""What yt-dlp's process may do, held by audit hooks (PEP 578) that nothing in it can take off.

It connects where the egress policy lets it, writes below one directory, and runs ffmpeg and ffprobe
on files there alone. The hook sees the address that is connected to, not the name.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bot.engines import leash
from bot.engines.egress import EgressPolicy
from bot.errors import PolicyRefused

#: Begins the message of every refusal but those of addresses.
NOT_ALLOWED = "not allowed here"
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,flv,avi,mpeg,mpegts,asf,mp3,aac,ogg,flac,wav,w64,aiff,"
    "opus,amr,ac3,eac3,caf,au,srt,webvtt,ass,ffmetadata,image2,png_pipe,jpeg_pipe,webp_pipe"
)
#: Before every input of ffmpeg: no network, and no format that opens other files or addresses.
LOCKED = (
    "-protocol_whitelist",
    "file,pipe",
    "-format_whitelist",
    _FORMATS,
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_QUESTIONS = frozenset({"-bsfs", "-version"})
_QUOTED = ("-metadata",)  # options whose value is text, which may hold an address
_FORBIDDEN = frozenset(
    {
        *("os.system", "os.exec", "os.fork", "os.forkpty", "os.spawn", "os.posix_spawn"),
        *("pty.spawn", "os.symlink", "os.link", "socket.bind", "ctypes.dlopen", "sqlite3.connect"),
        *("os.chown", "os.setxattr", "os.startfile", "ftplib.connect", "smtplib.connect"),
    }
)


class Blocked(PermissionError):
    """The guard refused something; an OSError, so that libraries take it for a failure."""


class Guard:
    """``directory`` is where files may be written (None: nowhere); ``programs`` are absolute paths
    of ffmpeg and ffprobe. ``addresses`` and ``actions`` say what was refused."""

    def __init__(
        self, policy: EgressPolicy, directory: str | None, programs: Sequence[str]
    ) -> None:
        self._policy = policy
        self._directory = os.path.realpath(directory) if directory else None
        self._programs = frozenset(programs)
        #: ffmpeg must not outlive this process: it would write into what a next one works on.
        self._leash = [*(sys.executable, "-I", "-S", str(Path(leash.__file__).resolve()))]
        self._leash += [str(os.getpid()), "0", "0"]
        self._named: dict[str, str] = {}
        self.addresses: list[str] = []
        self.actions: list[str] = []
        self._watched: dict[str, Callable[[tuple[Any, ...]], None]] = {
            "socket.connect": self._connect,
            "socket.sendto": self._connect,
            "socket.sendmsg": self._connect,
            "subprocess.Popen": self._run,
            "open": self._open,
            "os.rename": self._rename,
            "os.remove": self._change,
            "os.rmdir": self._change,
            "os.mkdir": self._make,
            "os.chmod": self._change,
            "os.utime": self._change,
            "os.truncate": lambda arguments: self._write(arguments[0]),
        }

    def install(self) -> None:
        """From now on, for good."""
        self._remember_allowed_hosts()
        self._lock_ffmpeg()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        watch = self._watched.get(event)
        if watch is not None:
            watch(arguments)
        elif event in _FORBIDDEN:
            self._refuse(f"{event} {arguments[:2]!r}"[:200])

    def _refuse(self, action: str) -> None:
        self.actions.append(action)
        raise Blocked(f"{NOT_ALLOWED}: {action}")

    # Connections

    def _connect(self, arguments: tuple[Any, ...]) -> None:
        connection, address = arguments[0], arguments[1]
        if connection.family not in {socket.AF_INET, socket.AF_INET6}:
            self._refuse(f"a connection to {address!r}"[:200])
        if address is None:  # a datagram to where the socket is connected to already
            return
        host = str(address[0])
        try:
            self._policy.check(host, self._named.get(host))
        except PolicyRefused as error:
            self.addresses.append(error.message)
            raise Blocked(error.message) from None

    def _remember_allowed_hosts(self) -> None:
        """An operator may let hosts through by name: note what their names resolve to."""
        resolve = socket.getaddrinfo

        def remembering(host: Any, *arguments: Any, **named: Any) -> Any:
            found = resolve(host, *arguments, **named)
            name = host.decode() if isinstance(host, bytes) else host
            if self._policy.allows_host(name):
                self._named.update((str(entry[4][0]), name) for entry in found)
            return found

        socket.getaddrinfo = remembering

    # Programs

    def _lock_ffmpeg(self) -> None:
        """Put the restrictions before every input that anything in yt-dlp gives to ffmpeg."""
        programs, held = self._programs, self._leash
        start = subprocess.Popen.__init__

        def locked(this: Any, args: Any, *others: Any, **named: Any) -> None:
            if isinstance(args, (list, tuple)) and args and args[0] in programs:
                args = [*held, *with_locks([str(argument) for argument in args])]
            start(this, args, *others, **named)

        subprocess.Popen.__init__ = locked  # type: ignore[method-assign, assignment]

    def _run(self, arguments: tuple[Any, ...]) -> None:
        executable, argv = os.fsdecode(arguments[0] or ""), arguments[1]
        words = [os.fsdecode(word) for word in argv] if isinstance(argv, (list, tuple)) else []
        count = len(self._leash)
        program = words[count] if words[:count] == self._leash and len(words) > count else None
        if executable != sys.executable or program not in self._programs:
            # As if it were not installed: looking whether it is does no harm.
            raise FileNotFoundError(errno.ENOENT, "No such program is allowed here", executable)
        wrong = wrong_argument(words[count + 1 :], self._inside)
        if wrong is not None:
            self._refuse(f"ffmpeg with {wrong[:150]!r}")

    # Files

    def _open(self, arguments: tuple[Any, ...]) -> None:
        path, mode, flags = arguments
        writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        if writes or (isinstance(flags, int) and flags & _WRITING):
            self._write(path)

    def _write(self, *paths: Any) -> None:
        for path in paths:
            if isinstance(path, int) or os.fspath(path) in {os.devnull, os.fsencode(os.devnull)}:
                continue
            if not self._inside(os.fsdecode(path)):
                self._refuse(f"writing {os.fsdecode(path)!r}"[:200])

    def _make(self, arguments: tuple[Any, ...]) -> None:
        """A directory that is there already can't be made again, so asking does no harm."""
        if not os.path.lexists(arguments[0]):
            self._change(arguments)

    def _rename(self, arguments: tuple[Any, ...]) -> None:
        source, target, *directories = arguments
        for path, directory in zip((source, target), directories, strict=True):
            self._change((path, directory))

    def _change(self, arguments: tuple[Any, ...]) -> None:
        """The first is a path, the last the descriptor that it is relative to, -1 for none."""
        if arguments[-1] != -1:
            self._refuse(f"changing {arguments[0]!r} below a descriptor"[:200])
        self._write(arguments[0])

    def _inside(self, path: str) -> bool:
        if self._directory is None:
            return False
        parent, name = os.path.split(os.path.normpath(Path.cwd() / path))
        real = os.path.join(os.path.realpath(parent), name)
        return real.startswith(self._directory + "/") and not Path(real).is_symlink()


def with_locks(argv: list[str]) -> list[str]:
    """The command with the restrictions before every input; ffprobe has but one."""
    made: list[str] = []
    for word in argv:
        if word == "-i":
            made += LOCKED
        made.append(word)
    if "-i" not in argv and not set(argv[1:]) <= _QUESTIONS:
        made[1:1] = LOCKED
    return made


def wrong_argument(words: Sequence[str], inside: Callable[[str], bool]) -> str | None:
    """The argument of ffmpeg that reaches out: an input or output that is no file of ours, or an
    input without the restrictions; None where all are fine."""
    if set(words) <= _QUESTIONS:
        return None
    if "-i" not in words and tuple(words[: len(LOCKED)]) != LOCKED:
        return words[0]
    before = ""
    for index, word in enumerate(words):
        if word == "-i":
            locked = tuple(words[max(0, index - len(LOCKED)) : index]) == LOCKED
            if not locked or not words[index + 1 : index + 2]:
                return word
        if (before == "-i" or index == len(words) - 1) and not word.startswith("file:"):
            return word
        if word.startswith("file:") and not inside(word.removeprefix("file:")):
            return word
        if "://" in word and not before.startswith(_QUOTED) and not word.startswith("file:"):
            return word
        before = word
    return None
