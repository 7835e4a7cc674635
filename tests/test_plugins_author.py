"""What an author of plugins has: a beginning that works, and a way to try it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bot.errors import InvalidInput
from bot.plugins.authoring import write_plugin
from bot.plugins.hooks import PAYLOADS
from bot.plugins.hooks import payload as hook_payload
from bot.plugins.manifest import TYPES
from bot.plugins.samples import recorded, sample
from tests.serving import Ran, Service


def _try(service: Service, *arguments: str) -> tuple[Ran, dict[str, Any]]:
    """``mltb plugins test --json``: what it came to, and its events by name."""
    ran = service.run("plugins", "test", "--json", *arguments)
    return ran, {each["event"]: each for each in ran.lines}


@pytest.mark.parametrize("kind", TYPES)
def test_a_new_plugin_works_and_so_does_its_test(tmp_path: Path, kind: str) -> None:
    service = Service(tmp_path)
    made = service.run("plugins", "new", f"my_{kind}", "--type", kind, "--dir", str(tmp_path))
    assert made.status == 0, made.err
    root = tmp_path / f"my_{kind}"
    assert str(root) in made.out
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(root)],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    ran, found = _try(service, str(root))
    assert ran.status == 0, ran.out + ran.err
    assert found["start"]["error"] is None
    assert found["execute"]["error"] is None
    expected = {
        "alert": True,
        "backup": True,
        "monitor": {"readings": 2.0},
        "custom": {"delivered": 0},
        "source": ["https://example.org/download/files/"],
        "task": None,
    }
    assert found["execute"]["result"] == expected[kind]
    if kind == "alert":
        assert found["execute"]["asked"][0]["arguments"]["method"] == "POST"
    if kind == "custom":
        assert found["on_task_completed"]["logged"] == ["film.mkv is there"]
        assert [each["what"] for each in found["on_task_completed"]["asked"]] == [
            "state_get",
            "state_set",
        ]


def test_a_recording_says_what_happens(tmp_path: Path) -> None:
    service = Service(tmp_path)
    root = write_plugin("my_plugin", "custom", tmp_path)
    recording = tmp_path / "events.jsonl"
    done = {"task": {**_task(), "name": "other.bin"}, "path": None, "size": 1, "sha256": None}
    lines = [{"hook": "on_task_completed", "payload": done}, {"hook": "execute"}]
    recording.write_text("\n".join(json.dumps(each) for each in lines))
    ran, found = _try(service, str(root), "--event", str(recording))
    assert ran.status == 0, ran.err
    assert found["on_task_completed"]["logged"] == ["other.bin is there"]
    assert found["execute"]["result"] == {"delivered": 1}
    # What fails says so, and the status too.
    (root / "my_plugin.py").write_text(
        (root / "my_plugin.py").read_text().replace("print(", "int(")
    )
    ran, found = _try(service, str(root), "--event", str(recording))
    assert ran.status == 1
    assert "ValueError" in found["on_task_completed"]["error"]
    assert found["execute"]["result"] == {"delivered": 0}
    (root / "my_plugin.py").write_text("def (")
    ran, found = _try(service, str(root))
    assert ran.status == 1
    assert "no Python" in found["start"]["error"]
    assert service.run("plugins", "new", "my_plugin", "--dir", str(tmp_path)).status == 1
    assert service.run("plugins", "new", "My-Plugin").status == 2
    assert service.run("plugins", "new", "fine", "--type", "other").status == 2
    assert service.run("plugins", "test", str(tmp_path)).status == 1


def _task() -> dict[str, Any]:
    task: dict[str, Any] = sample("on_task_submitted").payload
    return task


@pytest.mark.parametrize("hook", PAYLOADS)
def test_every_hook_has_a_sample(hook: str) -> None:
    event = sample(hook)
    assert isinstance(hook_payload(hook, event.payload), PAYLOADS[hook])
    assert recorded(json.dumps({"hook": hook, "payload": event.payload}).encode()) == [event]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line 1"),
        ('{"hook": "on_nothing"}', "on_nothing"),
        ('{"hook": "on_task_started", "payload": {}}', "missing"),
        ('{"hook": "execute", "argz": []}', "argz"),
    ],
)
def test_a_recording_that_is_none_says_where(line: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        recorded(line.encode())
