"""The tutorial is walked through as it is printed, with a real service and a real webhook."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.servers.http import HttpServer
from tests.servers.routes import Literal, Resource
from tests.servers.webhook import Webhook
from tests.serving import PATIENCE, Service, eventually

_PAGE = Path(__file__).parents[1] / "docs/plugins.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r"# (\S+/\S+)\n")


class Walk:
    """Somebody who does what the page says, with a webhook of their own."""

    def __init__(self, service: Service, webhook: Webhook) -> None:
        self.service = service
        self._webhook = f"127.0.0.1:{webhook.port}"
        self.key = ""
        self.said: dict[str, str] = {}

    def write(self, text: str) -> None:
        """A file, whose place its first line names."""
        place = _PLACE.match(text)
        assert place, f"no place in {text[:80]!r}"
        path = self.service.home / place[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if path.parent.name == "plugins":
            self.until(path.stem, "running")

    def type(self, line: str) -> None:
        """A line of the shell; it has to succeed."""
        wanted = line.replace("127.0.0.1:9000", self._webhook)
        scripts = Path(sys.executable).parent
        environ = self.service.env | {"PATH": f"{scripts}:{os.environ['PATH']}", "KEY": self.key}
        done = subprocess.run(
            ["sh", "-ec", wanted],
            cwd=self.service.home,
            env=environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stdout} {done.stderr}"
        self.said[line] = done.stdout
        if "keygen" in line:
            self.key = next(word for word in done.stdout.split() if word.startswith("ed25519:"))
        if line.startswith("cp -r"):
            self.until("teller", "refused", "failed")

    def plugin(self, name: str) -> dict[str, Any]:
        """What the service says of a plugin; nothing where it does not know it."""
        items = self.service.client.get("/plugins/list")["items"]
        return next((each for each in items if each["id"] == name), {"state": "unknown"})

    def until(self, name: str, *states: str) -> None:
        """Wait until a plugin is in one of these states."""
        eventually(lambda: self.plugin(name)["state"] in states, lambda: str(self.plugin(name)))


def test_every_step_of_the_tutorial(tmp_path: Path, http_server: HttpServer) -> None:
    service = Service(tmp_path, PLUGINS_DIR="plugins")
    with Webhook() as webhook:
        service.env["EGRESS_ALLOW"] = "127.0.0.1"
        (service.home / "plugins").mkdir()
        service.env["PLUGINS_DIR"] = str(service.home / "plugins")
        with service:
            walk = Walk(service, webhook)
            for kind, text in _BLOCK.findall(_PAGE.read_text()):
                if kind == "sh":
                    for line in text.splitlines():
                        if "run counter" in line:
                            url = http_server.add("/film.bin", Resource(Literal(b"film")))
                            assert service.fetch(url)["state"] == "done"
                        if "revoke" in line:
                            assert walk.plugin("teller")["signature"] == "signed"
                        walk.type(line)
                else:
                    walk.write(text)
            _look_back(walk, webhook)


def _look_back(walk: Walk, webhook: Webhook) -> None:
    assert '"asked_by": "me"' in walk.said["""mltb plugins run counter '{"name": "me"}'"""]
    assert "Initializing counter" in walk.said["mltb plugins logs counter"]
    eventually(
        lambda: any(told["text"] == "The mirror moves" for told in webhook.received),
        lambda: str(webhook.received),
    )
    shown = walk.said["mltb plugins config teller"]
    assert "a-secret-of-ours" not in shown
    assert "http://" in shown
    assert "a-secret-of-ours" not in walk.service.log
    assert (
        "Ann" in walk.said["mltb plugins verify teller"]
        or walk.key in walk.said["mltb plugins verify teller"]
    )
    walk.until("teller", "refused")
    assert "revoked" in walk.plugin("teller")["reason"]
