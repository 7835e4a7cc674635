"""Alerts as their user meets them: a real service, a real webhook, REST and the command line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.servers.webhook import Webhook
from tests.serving import Service, eventually


def service(directory: Path, *hooks: Webhook, **settings: str) -> Service:
    """One that tells those hooks, the first as ``ops0``, at once."""
    channels = [{"name": f"ops{number}", "url": hook.url} for number, hook in enumerate(hooks)]
    made = Service(directory, ALERT_CHANNELS=json.dumps(channels))
    made.env |= {"ALERT_GROUP_WAIT": "0", "ALERT_GROUP_INTERVAL": "0", "RETRY_ATTEMPTS": "1"}
    made.env |= settings
    return made


def test_an_alert_by_hand_goes_all_the_way(tmp_path: Path) -> None:
    with Webhook() as hook, service(tmp_path, hook) as it:
        ran = it.run("alerts", "trigger", "The mirror moves", "--message", "On Friday", "--json")
        assert ran.status == 0, ran.err
        alert = ran.lines[0]
        assert (alert["state"], alert["rule"], alert["count"]) == ("firing", "manual", 1)
        eventually(lambda: len(hook.received) == 1, lambda: it.log)
        assert hook.bodies == ["[medium] The mirror moves\n- On Friday"]
        listed = it.run("alerts", "list", "--json").lines
        assert [each["id"] for each in listed] == [alert["id"]]
        assert it.run("alerts", "ack", alert["id"], "--note", "mine").out.endswith("acknowledged\n")
        shown = it.run("alerts", "show", alert["id"], "--json").lines[0]
        assert (shown["state"], shown["note"]) == ("acknowledged", "mine")


def test_a_task_that_fails_is_told_with_its_name_and_reason(tmp_path: Path) -> None:
    with Webhook() as hook, service(tmp_path, hook) as it:
        task = it.fetch(f"http://127.0.0.1:{hook.port}/film.mkv")
        assert task["state"] == "failed"
        eventually(lambda: len(hook.received) == 1, lambda: it.log)
        assert hook.bodies[0].startswith("[medium] Task failed\n- ")
        assert task["error"]["code"] in hook.bodies[0]
        found = it.client.get("/alerts/recent", rule="task_failed")["items"]
        assert [each["labels"]["task"] for each in found] == [task["id"]]
