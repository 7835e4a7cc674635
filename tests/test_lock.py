"""One service in a directory; how others find it, and that nobody else can read its token."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bot.errors import ConfigError
from bot.lock import Address, Doorplate, InstanceLock, held

ADDRESS = Address(1, "http://127.0.0.1:1", "/s")
HOLD = """
import sys
from pathlib import Path
from bot.lock import Address, Doorplate, InstanceLock
with InstanceLock(Path(sys.argv[1])):
    Doorplate(Path(sys.argv[1])).publish(Address(1, None, "/old"))
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of ``directory``."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def mode(path: Path) -> int:
    """Who may read it."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_directory_is_held_by_one_and_free_after(tmp_path: Path) -> None:
    assert not held(tmp_path)
    with InstanceLock(tmp_path):
        assert held(tmp_path)
        with pytest.raises(ConfigError, match="another DATA_DIR"), InstanceLock(tmp_path):
            pytest.fail("two hold it")
        assert held(tmp_path)
    assert not held(tmp_path)
    with InstanceLock(tmp_path):
        assert held(tmp_path)


def test_asking_makes_nothing(tmp_path: Path) -> None:
    assert not held(tmp_path)
    assert not held(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


def test_another_process_is_noticed_and_its_death_too(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert held(tmp_path)
        with pytest.raises(ConfigError) as caught, InstanceLock(tmp_path):
            pytest.fail("two hold it")
        assert str(tmp_path) in caught.value.message
        assert Doorplate(tmp_path).address() == Address(1, None, "/old")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not held(tmp_path)
        # The file of the killed one is there still, and believed neither now nor by the next.
        assert (tmp_path / "service.json").exists()
        assert Doorplate(tmp_path).address() is None
        with InstanceLock(tmp_path):
            assert held(tmp_path)
            assert Doorplate(tmp_path).address() is None


def test_looking_does_not_keep_a_service_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "service.lock").touch()
    looker = os.open(tmp_path / "service.lock", os.O_RDWR)
    fcntl.flock(looker, fcntl.LOCK_SH)  # as ``held`` does, for a moment
    monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(looker, fcntl.LOCK_UN))
    try:
        with InstanceLock(tmp_path):
            assert held(tmp_path)
    finally:
        os.close(looker)


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    with InstanceLock(tmp_path):
        process = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False
        )
    with process, InstanceLock(tmp_path):
        assert process.poll() is None


def test_the_address_is_told_while_it_holds(tmp_path: Path) -> None:
    plate = Doorplate(tmp_path)
    plate.withdraw()
    with InstanceLock(tmp_path):
        assert plate.address() is None
        plate.publish(ADDRESS)
        assert plate.address() == ADDRESS
        plate.publish(Address(2, None, "/t"))
        assert plate.address() == Address(2, None, "/t")
        plate.withdraw()
        assert plate.address() is None
        plate.publish(ADDRESS)
    assert plate.address() is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid": "x"}', b"\xff", b"[]"])
def test_a_broken_address_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "service.json").write_bytes(content)
    with InstanceLock(tmp_path):
        (tmp_path / "service.json").write_bytes(content)
        assert Doorplate(tmp_path).address() is None


def test_the_token_is_for_this_user_alone(tmp_path: Path) -> None:
    plate = Doorplate(tmp_path)
    before = os.umask(0)
    try:
        plate.keep_token("hush")
        plate.publish(ADDRESS)
        with InstanceLock(tmp_path):
            pass
    finally:
        os.umask(before)
    assert plate.token == "hush"
    assert all(mode(path) == 0o600 for path in tmp_path.iterdir())
    plate.keep_token("new")
    assert Doorplate(tmp_path).token == "new"
    (tmp_path / "token").write_text("\n")
    assert Doorplate(tmp_path).token is None
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_without_a_token_there_is_none(tmp_path: Path) -> None:
    assert Doorplate(tmp_path).token is None


def test_the_address_is_json_for_other_programs(tmp_path: Path) -> None:
    Doorplate(tmp_path).publish(ADDRESS)
    written = json.loads((tmp_path / "service.json").read_text())
    assert written == {"pid": 1, "url": "http://127.0.0.1:1", "socket": "/s"}
