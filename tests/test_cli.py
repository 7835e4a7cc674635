"""The command ``mltb`` as it is typed: what it prints, where, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bot import __version__
from bot.lock import held
from tests.servers.behaviours import Gate, Gated, Switch, Throttled
from tests.servers.http import HttpServer
from tests.servers.missing import requires
from tests.servers.routes import MIB, Generated, Resource, Status
from tests.servers.torrent import Swarm
from tests.serving import PATIENCE, Ran, Service, eventually, hidden, sha256, visible

_SMALL = Generated(10_000, seed=1)


@pytest.fixture
def alone(tmp_path: Path) -> Service:
    """A directory in which no service runs."""
    return Service(tmp_path / "s")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that runs."""
    with Service(tmp_path_factory.mktemp("cli") / "s", RETRY_ATTEMPTS="1") as service:
        yield service


def fine(ran: Ran) -> Ran:
    """The command did what it should."""
    assert ran.status == 0, ran
    return ran


# Mirroring


@pytest.mark.parametrize("running", [False, True])
def test_mirror_for_a_person(alone: Service, http_server: HttpServer, running: bool) -> None:
    url = http_server.add("/x.bin", Resource(_SMALL))
    with alone if running else contextlib.nullcontext():
        ran = fine(alone.run("mirror", url))
        path, verified = ran.out.splitlines()
        assert path == str(alone.files / "x.bin")
        assert verified.startswith(f"sha256 {_SMALL.sha256}  9.8 KiB  verified")
        assert sha256(Path(path)) == _SMALL.sha256
        assert [line.split()[1] for line in ran.err.splitlines()][-1] == "done"
        listed = fine(alone.run("list", "--json")).lines
        assert [task["state"] for task in listed] == ["done"]
    alone.expect_clean()
    alone.expect_no_children()


@pytest.mark.parametrize("running", [False, True])
def test_mirror_for_a_program(alone: Service, http_server: HttpServer, running: bool) -> None:
    url = http_server.add("/x.bin", Resource(_SMALL))
    to = alone.files / "below" / "there"
    with alone if running else contextlib.nullcontext():
        ran = fine(alone.run("mirror", url, "--to", str(to), "--json"))
    last = ran.lines[-1]
    assert (last["state"], last["sha256"], last["size"], last["path"]) == (
        "done",
        _SMALL.sha256,
        _SMALL.size,
        str(to / "x.bin"),
    )
    assert ran.err == ""
    assert {line["state"] for line in ran.lines[:-1]} <= {
        "queued",
        "probing",
        "running",
        "delivering",
        "verifying",
    }


def test_a_failure_for_a_program(service: Service, http_server: HttpServer) -> None:
    ran = service.run("mirror", http_server.url("/nothing"), "--json")
    last = ran.lines[-1]
    assert ran.status == 1
    assert (last["state"], last["sha256"], last["path"]) == ("failed", None, None)
    assert last["error"]["code"] == "source_not_found"
    assert last["error"]["stage"] == "plan"
    assert "404" in last["error"]["message"]


def test_a_failure_for_a_person(service: Service, http_server: HttpServer) -> None:
    ran = service.run("mirror", http_server.url("/nothing"))
    assert (ran.status, ran.out) == (1, "")
    assert "404" in ran.err
    assert "mltb retry " in ran.err


def test_a_destination_outside_of_the_roots(service: Service, tmp_path: Path) -> None:
    ran = service.run("mirror", "http://127.0.0.1:1/x", "--to", str(tmp_path), "--json")
    assert ran.status == 1
    assert ran.lines[-1]["error"]["code"] == "policy"
    assert ran.lines[-1]["state"] == "failed"
    assert str(service.files) in ran.lines[-1]["error"]["hint"]


def test_a_relative_destination_is_of_the_working_directory(
    alone: Service, http_server: HttpServer
) -> None:
    url = http_server.add("/x.bin", Resource(_SMALL))
    settings = {"LOCAL_ROOTS": f"{alone.files}:{alone.home}"}
    ran = fine(alone.run("mirror", url, "--to", "there", "--json", **settings))
    assert ran.lines[-1]["path"] == str(alone.home / "there" / "x.bin")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--select", "1,x"), "1,x"),
        (("--limit", "fast"), "fast"),
        (("--header", "nocolon"), "nocolon"),
        (("--step", "extract:foo"), "foo"),
        (("--segments", "0"), "0"),
        (("--overwrite", "maybe"), "maybe"),
    ],
)
def test_options_that_can_not_be(service: Service, arguments: tuple[str, ...], told: str) -> None:
    ran = service.run("mirror", "http://127.0.0.1:1/x", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert told in ran.err
    assert "Traceback" not in ran.err


def test_a_torrent_file(alone: Service, swarm: Swarm, tmp_path: Path) -> None:
    file = tmp_path / "set.torrent"
    file.write_bytes(swarm.torrent.data)
    last = fine(alone.run("mirror", str(file), "--select", "0,2", "--json")).lines[-1]
    assert last["state"] == "done"
    names = [Path(entry["path"]).name for entry in last["files"]]
    assert names == ["a.bin", "c.bin"]
    assert len(visible(alone.files)) == 2
    gone = alone.run("mirror", str(tmp_path / "gone.torrent"), "--json")
    assert gone.status == 2
    assert gone.lines[-1]["error"]["code"] == "invalid_input"


def test_the_same_link_twice_is_followed_and_not_fetched_twice(
    service: Service, http_server: HttpServer
) -> None:
    gate = Gate()
    url = http_server.add("/twice.bin", Gated(Resource(_SMALL), gate, 100))
    first = service.mirror(url)
    service.until(first, "running")
    with subprocess.Popen(
        service.command("mirror", url, "--json"),
        cwd=service.home,
        env=service.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as second:
        assert second.stderr is not None
        assert first["id"] in second.stderr.readline()
        gate.open()
        out, _ = second.communicate(timeout=PATIENCE)
    last = json.loads(out.splitlines()[-1])
    assert (second.returncode, last["id"], last["state"]) == (0, first["id"], "done")
    assert http_server.seen.count("/twice.bin", "GET") <= 2


def test_ctrl_c_keeps_the_task_and_the_same_command_goes_on(
    alone: Service, http_server: HttpServer
) -> None:
    gate, made = Gate(), Generated(3 * MIB, 4)
    url = http_server.add("/x.bin", Gated(Resource(made), gate, MIB))
    arguments = ("mirror", url, "--segments", "1", "--json")
    with subprocess.Popen(
        alone.command(*arguments),
        cwd=alone.home,
        env=alone.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        task = json.loads(process.stdout.readline())["id"]
        alone.until_checkpoint(task)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said
    alone.expect_no_children()
    gate.open()
    ran = fine(alone.run(*arguments))
    assert (ran.lines[-1]["id"], ran.lines[-1]["sha256"]) == (task, made.sha256)
    assert http_server.seen.repeated("/x.bin") == 0


def test_a_bar_on_a_terminal(alone: Service, http_server: HttpServer) -> None:
    url = http_server.add("/x.bin", Throttled(Resource(Generated(2 * MIB, 3)), 2 * MIB))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        alone.command("mirror", url),
        cwd=alone.home,
        env=alone.env | {"TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as process:
        os.close(theirs)
        shown: list[bytes] = []
        reader = threading.Thread(target=_read_all, args=(ours, shown))
        reader.start()
        out, _ = process.communicate(timeout=PATIENCE)
        reader.join(PATIENCE)
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(shown).decode())
    assert process.returncode == 0
    assert out.splitlines()[0] == str(alone.files / "x.bin")
    assert re.search(r"x\.bin running .*━.* [\d.]+/2\.1 MB|x\.bin running .*/2\.0 MiB", text), text


def _read_all(descriptor: int, into: list[bytes]) -> None:
    # Linux says EIO where the other end of a terminal is closed.
    with contextlib.suppress(OSError):
        while chunk := os.read(descriptor, 4096):
            into.append(chunk)


# What would be done, and what is done


def test_plan(service: Service, http_server: HttpServer) -> None:
    url = http_server.add("/plan.bin", Resource(_SMALL))
    told = fine(service.run("plan", url, "-e")).out
    assert "plan.bin" in told
    assert "fetch → extract → deliver → verify" in told
    found = fine(service.run("plan", url, "--json")).lines[-1]
    assert (found["name"], found["size"], found["resumable"]) == ("plan.bin", _SMALL.size, True)
    assert http_server.seen.bytes_sent("/plan.bin") < _SMALL.size
    assert service.run("plan", "gopher://example.org/").status == 1


def test_the_life_of_a_task(service: Service, http_server: HttpServer) -> None:
    gate = Gate()
    url = http_server.add("/life.bin", Gated(Resource(Generated(2 * MIB, 8)), gate, MIB))
    task = fine(service.run("mirror", url, "--detach", "--segments", "1")).out.strip()
    service.until_checkpoint(task)
    shown = fine(service.run("status", "--json")).lines[-1]
    assert shown["counts"]["running"] == 1
    assert [each["id"] for each in shown["tasks"]] == [task]
    assert task in fine(service.run("status")).out
    assert fine(service.run("pause", task)).out == f"{task} paused\n"
    assert fine(service.run("priority", task, "7")).out == f"{task} priority 7\n"
    assert fine(service.run("show", task, "--json")).lines[-1]["priority"] == 7
    assert json.loads(fine(service.run("show", task)).out)["state"] == "paused"
    gate.open()
    assert fine(service.run("resume", task, "--json")).lines[-1]["id"] == task
    assert service.until(task)["state"] == "done"
    again = service.run("cancel", task)
    assert (again.status, again.out) == (1, "")
    assert "done" in again.err
    assert task in fine(service.run("list", "--state", "done", "--text", "LIFE")).out
    assert fine(service.run("list", "--state", "done", "--engine", "torrent")).out == ""
    fine(service.run("delete", task))
    assert service.run("show", task).status == 1
    assert (service.files / "life.bin").exists()


def test_cancel_and_retry(service: Service, http_server: HttpServer) -> None:
    gate = Gate()
    held = http_server.add("/held.bin", Gated(Resource(_SMALL), gate, 10))
    locked = Switch(Status(403), Resource(_SMALL))
    flaky = http_server.add("/flaky.bin", locked)
    one = fine(service.run("mirror", held, "--detach")).out.strip()
    two = service.run("mirror", flaky, "--json").lines[-1]
    assert two["error"]["code"] == "unauthorised"
    service.until(one, "running")
    ran = service.run("cancel", one, "zzz", "--json")
    assert ran.status == 1
    assert [line["state"] for line in ran.lines] == ["cancelled", "failed"]
    assert ran.lines[1]["error"]["code"] == "not_found"
    assert [path for path in hidden([service.files]) if one in str(path)] == []
    gate.open()
    locked.turn()
    fine(service.run("retry", one, two["id"]))
    assert [service.until(task)["state"] for task in (one, two["id"])] == ["done", "done"]


def test_select(service: Service, swarm: Swarm) -> None:
    task = service.mirror(swarm.torrent_url, options={"ask_selection": True})
    service.until(task, "awaiting_selection")
    assert service.run("select", task["id"], "a,b").status == 2
    fine(service.run("select", task["id"], "1"))
    done = service.until(task)
    assert [Path(file["path"]).name for file in done["receipt"]["files"]] == ["b.bin"]


def test_without_a_service_nothing_is_begun_that_was_not_asked_for(
    alone: Service, http_server: HttpServer
) -> None:
    gate = Gate()
    url = http_server.add("/x.bin", Gated(Resource(_SMALL), gate, 10))
    assert fine(alone.run("list")).out == ""
    assert fine(alone.run("status")).out == "no tasks\n"
    assert alone.run("mirror", url, "--detach").status == 1
    with alone:
        task = alone.mirror(url)
        alone.until(task, "running")
    asked = http_server.seen.count("/x.bin")
    assert fine(alone.run("show", task["id"], "--json")).lines[-1]["state"] == "queued"
    assert http_server.seen.count("/x.bin") == asked
    assert fine(alone.run("cancel", task["id"])).out == f"{task['id']} cancelled\n"
    alone.expect_clean()


def test_a_command_waits_for_a_service_that_starts(alone: Service) -> None:
    process = alone.launch()
    try:
        while not held(alone.data):
            assert process.poll() is None
        assert fine(alone.run("status")).out == "no tasks\n"
        alone.ready()
        assert alone.terminate() == 0
    finally:
        alone.kill()


# Settings, tokens, files


def test_config_says_what_holds_and_from_where(alone: Service) -> None:
    (alone.home / ".env").write_text("MAX_ACTIVE=3\nRETRY_MAX=9\n")
    (alone.home / "config.py").write_text("MAX_ACTIVE = 2\nDISK_RESERVE = '1G'\n")
    secret = "postgresql://me:hunter2@db.example/mltb"
    ran = fine(alone.run("config", "--json", DATABASE_URL=secret, RETRY_MAX="8"))
    rows = {row["name"]: (row["value"], row["origin"]) for row in ran.lines}
    assert rows["MAX_ACTIVE"] == ("3", ".env")
    assert rows["RETRY_MAX"] == ("8.0", "environment")
    assert rows["DISK_RESERVE"][1] == "config.py"
    assert rows["HTTP_USER_AGENT"] == ("mltb", "default")
    assert rows["DATABASE_URL"] == ("postgresql://me:***@db.example/mltb", "environment")
    plain = fine(alone.run("config", DATABASE_URL=secret)).out
    assert "hunter2" not in plain
    assert not alone.data.exists(), "looking at the settings makes nothing"


@pytest.mark.parametrize("command", [("config",), ("serve",), ("mirror", "http://127.0.0.1:1/")])
def test_a_wrong_setting_stops_it_with_its_name(alone: Service, command: tuple[str, ...]) -> None:
    (alone.home / ".env").write_text("MAX_ACTVE=3\nRETRY_ATTEMPTS=many\n")
    ran = alone.run(*command)
    assert (ran.status, ran.out) == (2, "")
    for word in ("MAX_ACTVE", "MAX_ACTIVE", "RETRY_ATTEMPTS", "many", ".env"):
        assert word in ran.err, ran.err
    assert "Traceback" not in ran.err
    assert not alone.data.exists()


def test_tokens(service: Service) -> None:
    secret = fine(service.run("token", "create", "--scope", "admin")).out
    assert re.fullmatch(r"mltb_\S{40,}\n", secret)
    assert _status(service, "GET", "/api/v3/tokens", secret.strip()) == 200
    viewer = fine(service.run("token", "create", "--scope", "view", "--name", "eyes")).out.strip()
    assert _status(service, "GET", "/api/v3/tasks", viewer) == 200
    assert _status(service, "POST", "/api/v3/tasks", viewer) in {403, 422}
    assert _status(service, "GET", "/api/v3/tokens", viewer) == 403
    rows = fine(service.run("token", "list", "--json")).lines
    assert {"eyes", "this machine"} <= {row["name"] for row in rows}
    assert secret.strip() not in json.dumps(rows)
    unused = fine(service.run("token", "create", "--name", "brief", "--days", "1")).out.strip()
    (brief,) = [
        row for row in service.run("token", "list", "--json").lines if row["name"] == "brief"
    ]
    assert brief["expires_at"] is not None
    fine(service.run("token", "revoke", brief["id"]))
    assert _status(service, "GET", "/api/v3/tasks", unused) == 401
    assert service.run("token", "revoke", brief["id"]).status == 1


def _status(service: Service, method: str, path: str, token: str) -> int:
    parts = urlsplit(service.url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    try:
        body = "{}" if method == "POST" else None
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_files_are_for_their_user_alone(alone: Service, http_server: HttpServer) -> None:
    alone.umask = 0
    gate = Gate()
    url = http_server.add("/x.bin", Gated(Resource(_SMALL), gate, 10))
    with alone:
        alone.until(alone.mirror(url), "running")
        modes = dict(_modes(alone.data))
        assert modes.pop(".") == 0o700
        for name in ("token", "mltb.sock", "mltb.db", "mltb.db-wal", "service.json"):
            assert modes.pop(name) == 0o600, name
        assert not [name for name, mode in modes.items() if mode & 0o077]
        # A task runs from its plan on; its workspace comes a moment later.
        work = alone.files / ".mltb"
        eventually(work.is_dir, lambda: f"no {work}")
        assert work.stat().st_mode & 0o777 == 0o700
        gate.open()


def _modes(directory: Path) -> Iterator[tuple[str, int]]:
    """The modes of a directory and all in it, by relative path."""
    for path in [directory, *directory.rglob("*")]:
        with contextlib.suppress(FileNotFoundError):  # it was for a moment only
            yield path.relative_to(directory).as_posix(), path.lstat().st_mode & 0o777


# The shell


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(alone: Service, shell: str) -> None:
    script = fine(alone.run("completion", shell)).out
    assert "_MLTB_COMPLETE" in script
    assert not alone.data.exists()


def test_bash_completes(alone: Service, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    requires("bash", how="install bash", found=bash)
    assert bash is not None
    program = tmp_path / "bin" / "mltb"
    program.parent.mkdir()
    start = "import sys; sys.argv[0] = 'mltb'; from bot.cli import main; main()"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{start}" "$@"\n')
    program.chmod(0o755)
    script = """
        eval "$(mltb completion bash)"
        complete_for() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _mltb_completion mltb
            echo "${COMPREPLY[@]}"
        }
        complete_for mltb mirror --over
        complete_for mltb re
    """
    done = subprocess.run(
        [bash, "--norc", "-c", script],
        env=alone.env | {"PATH": f"{program.parent}:{os.environ['PATH']}"},
        cwd=alone.home,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout.splitlines() == ["--overwrite", "recovery resume retry"]


def test_the_installed_command_is_the_same(alone: Service) -> None:
    installed = Path(sysconfig.get_path("scripts")) / "mltb"
    requires("mltb", how="install the project: make test", found=installed.exists())
    done = subprocess.run(
        [installed, "list"], env=alone.env, cwd=alone.home, timeout=PATIENCE, check=True
    )
    assert done.returncode == 0


def test_help_names_every_command(alone: Service) -> None:
    told = fine(alone.run("--help")).out
    for command in (
        *("mirror", "plan", "list", "show", "status", "cancel", "retry", "pause", "resume"),
        *("select", "priority", "delete", "serve", "config", "token", "completion"),
    ):
        assert re.search(rf"^  {command} ", told, re.MULTILINE), command
    assert "--overwrite" in fine(alone.run("mirror", "--help")).out
    assert __version__ in fine(alone.run("--version")).out
    assert alone.run("nonsense").status == 2
