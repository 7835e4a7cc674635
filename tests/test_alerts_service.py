"""Alerts as their user meets them: a real service, a real webhook, REST and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.cli.client import ServiceError
from tests.servers.webhook import Webhook
from tests.serving import Json, Service, eventually


def service(directory: Path, *hooks: Webhook, **settings: str) -> Service:
    """One that tells those hooks, the first as ``ops0``, at once."""
    channels = [{"name": f"ops{number}", "url": hook.url} for number, hook in enumerate(hooks)]
    made = Service(directory, ALERT_CHANNELS=json.dumps(channels))
    made.env |= {"ALERT_GROUP_WAIT": "0", "ALERT_GROUP_INTERVAL": "0", "RETRY_ATTEMPTS": "1"}
    made.env |= settings
    return made


def trigger(it: Service, title: str, **body: object) -> Json:
    found: Json = it.client.post("/alerts/trigger", {"title": title, **body})
    return found


def told(it: Service, state: str) -> list[Json]:
    """The notifications in that state."""
    found: list[Json] = it.client.get("/alerts/notifications", state=state)["items"]
    return found


def test_an_alert_by_hand_goes_all_the_way_by_the_command_line(tmp_path: Path) -> None:
    with Webhook() as hook, service(tmp_path, hook) as it:
        words = ["The mirror moves", "--message", "On Friday", "--label", "place=attic"]
        ran = it.run("alerts", "trigger", *words, "--json")
        assert ran.status == 0, ran.err
        alert = ran.lines[0]
        assert (alert["state"], alert["rule"], alert["count"]) == ("firing", "manual", 1)
        assert alert["labels"]["place"] == "attic"
        eventually(lambda: len(hook.received) == 1, lambda: it.log)
        assert hook.bodies == ["[medium] The mirror moves\n- On Friday"]
        listed = it.run("alerts", "list", "--json").lines
        assert [each["id"] for each in listed] == [alert["id"]]
        assert it.run("alerts", "ack", alert["id"], "--note", "mine").out.endswith("acknowledged\n")
        shown = it.run("alerts", "show", alert["id"], "--json").lines[0]
        assert (shown["state"], shown["note"]) == ("acknowledged", "mine")


def test_silence_and_rules_by_the_command_line(tmp_path: Path) -> None:
    with Webhook() as hook, service(tmp_path, hook) as it:
        assert it.run("alerts", "test", "ops0").out == "ops0: sent\n"
        assert "Alerts reach this channel" in hook.bodies[0]
        made = it.run("alerts", "silence", "--for", "2h", "--rule", "manual", "--json").lines[0]
        assert made["rule"] == "manual"
        assert trigger(it, "Quiet")["state"] == "silenced"
        assert it.run("alerts", "silence", "--delete", made["id"]).status == 0
        eventually(lambda: len(hook.received) == 2, lambda: it.log)
        rules = it.run("alerts", "rules")
        assert "disk_low\thigh\tdisk_free_ratio < 0.05 for 60 s\t" in rules.out


def test_a_task_that_fails_is_told_with_its_reason_until_it_is_removed(tmp_path: Path) -> None:
    with Webhook() as hook, service(tmp_path, hook) as it:
        task = it.fetch(f"http://127.0.0.1:{hook.port}/film.mkv")
        assert task["state"] == "failed"
        eventually(lambda: len(hook.received) == 1, lambda: it.log)
        assert hook.bodies[0].startswith("[medium] Task failed\n- ")
        assert task["error"]["code"] in hook.bodies[0]
        (found,) = it.client.get("/alerts/recent", rule="task_failed")["items"]
        assert found["labels"]["task"] == task["id"]
        it.client.delete(f"/tasks/{task['id']}")
        eventually(
            lambda: it.client.get(f"/alerts/{found['id']}")["state"] == "resolved", lambda: it.log
        )


def test_what_was_raised_before_a_kill_is_told_after_it_and_once(tmp_path: Path) -> None:
    """Also what waited for its group, and so was not handed over to any channel yet."""
    with Webhook() as hook, Webhook() as other, service(tmp_path, hook, other) as it:
        hook.down()
        first = trigger(it, "First")
        eventually(lambda: len(other.received) == 1, lambda: it.log)
        eventually(lambda: len(told(it, "delivered")) == 1, lambda: it.log)
        assert [each["channel"] for each in told(it, "pending")] == ["ops0"]
        it.kill()
        hook.up()
        it.start()
        eventually(lambda: len(hook.received) == 1, lambda: it.log)
        eventually(lambda: not told(it, "pending"), lambda: it.log)
        assert it.client.get(f"/alerts/{first['id']}")["state"] == "firing"
        it.env["ALERT_GROUP_WAIT"] = "3600"
        it.kill()
        it.start()
        second = trigger(it, "Second", severity="high")
        assert not second["announced"]
        it.env["ALERT_GROUP_WAIT"] = "0"
        it.kill()
        it.start()
        eventually(lambda: len(hook.received) == len(other.received) == 2, lambda: it.log)
        assert [each.splitlines()[0] for each in hook.bodies] == [
            "[medium] First",
            "[high] Second",
        ]
        firing = it.client.get("/alerts/summary")["firing"]
        assert [each["id"] for each in firing] == [second["id"], first["id"]]


def test_a_storm_of_failing_tasks_is_few_messages(tmp_path: Path) -> None:
    settings = {"ALERT_GROUP_WAIT": "1", "ALERT_GROUP_INTERVAL": "5"}
    with Webhook() as hook, service(tmp_path, hook, **settings) as it:
        links = [{"source": f"http://127.0.0.1:1/{number}.bin"} for number in range(300)]
        it.client.post("/tasks/batch", {"tasks": links})
        eventually(
            lambda: it.client.get("/alerts/summary")["by_rule"].get("task_failed") == 300,
            lambda: it.log,
        )
        eventually(
            lambda: sum(len(each["alerts"]) for each in told(it, "delivered")) == 300,
            lambda: it.log,
        )
        assert 1 <= len(hook.received) <= 10


def test_the_start_refuses_a_wrong_rule(tmp_path: Path) -> None:
    wrong = '[{"name": "x", "event": "task.fialed"}]'
    ran = Service(tmp_path).run("serve", ALERT_RULES=wrong)
    assert (ran.status, "did you mean 'task.failed'" in ran.err) == (2, True)


def test_what_rest_refuses(tmp_path: Path) -> None:
    with service(tmp_path) as it:
        for path, body, code in (
            ("/alerts/trigger", {"title": ""}, "invalid_input"),
            ("/alerts/trigger", {"title": "x", "severity": "worst"}, "invalid_input"),
            ("/alerts/silences", {"reason": "r", "seconds": 5}, "invalid_input"),
            ("/alerts/0/acknowledge", {}, "not_found"),
            ("/alerts/0/resolve", {"note": None}, "not_found"),
            ("/alerts/channels/x/test", None, "not_found"),
        ):
            with pytest.raises(ServiceError) as caught:
                it.client.post(path, body)
            assert caught.value.name == code, path
        with pytest.raises(ServiceError):
            it.client.get("/alerts/recent", cursor="nonsense")
        alert = trigger(it, "x")
        assert it.client.post(f"/alerts/{alert['id']}/resolve", {})["state"] == "resolved"
        with pytest.raises(ServiceError) as caught:
            it.client.post(f"/alerts/{alert['id']}/acknowledge", {})
        assert caught.value.name == "illegal_move"
