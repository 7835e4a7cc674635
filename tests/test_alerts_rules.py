"""What rules and channels can be in the settings, and what is said about the wrong ones; what
alerts know beyond the readings."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from bot.app import running
from bot.config import Settings, load
from bot.config_operations import AlertChannel
from bot.domain import events
from bot.domain.alert_rules import EventRule, ReadingRule, Rule
from bot.domain.alerts import Severity
from bot.domain.ports import Token
from bot.domain.task import TaskState
from bot.errors import ConfigError
from bot.operations.alert_channels import AppriseChannel, Threads
from bot.operations.alert_occasions import NOTICES, OCCASIONS
from bot.operations.alert_rules import BUILT_IN, backup_overdue, compile_rules
from bot.operations.alert_signals import SIGNALS, Expiries, Sample, Signals, certificate_end
from bot.operations.alert_text import broken, shown
from bot.operations.readings import READINGS
from tests.rig import ManualClock
from tests.servers.tls import Authority

KNOWN = [*(reading.name for reading in READINGS), *SIGNALS]
HOT = {"name": "hot", "reading": "cpu_percent", "comparison": ">", "threshold": 95, "for": 60}


def rules(*declared: dict[str, Any], built_in: bool = True) -> dict[str, Rule]:
    found = compile_rules(declared, built_in=BUILT_IN if built_in else (), readings=KNOWN)
    return {rule.name: rule for rule in found}


def settings(directory: Path, **environ: str) -> Settings:
    return load(environ, directory).settings


# Rules


def test_the_built_in_rules_are_about_what_there_is() -> None:
    found = rules()
    assert set(found) == {str(rule["name"]) for rule in BUILT_IN}
    about = {rule.event for rule in found.values() if isinstance(rule, EventRule)}
    assert about == set(OCCASIONS)
    assert compile_rules([], built_in=[backup_overdue(3600.0)], readings=KNOWN)


def test_a_rule_with_the_name_of_a_built_in_one_changes_that() -> None:
    found = rules({"name": "disk_low", "threshold": 0.2, "clear": 0.3, "severity": "critical"})
    disk = found["disk_low"]
    assert isinstance(disk, ReadingRule)
    assert (disk.threshold, disk.clear, disk.hold) == (0.2, 0.3, 60)
    assert (disk.severity, disk.reading) == (Severity.CRITICAL, "disk_free_ratio")
    assert "disk_low" not in rules({"name": "disk_low", "enabled": False})
    assert list(rules(HOT, built_in=False)) == ["hot"]


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"name": "x"}, "'x' is about nothing"),
        ({**HOT, "event": "task.failed"}, "two things"),
        ({**HOT, "reading": "cpu_procent"}, "did you mean 'cpu_percent'"),
        ({"name": "x", "event": "task.fialed"}, "did you mean 'task.failed'"),
        ({**HOT, "keep": 5}, "can't have 'keep'"),
        ({"name": "x", "event": "task.failed", "for": 5}, "can't have 'for'"),
        ({"name": "x", "reading": "cpu_percent", "threshold": 5}, "has no comparison"),
        ({"name": "x", "reading": "cpu_percent", "comparison": ">"}, "has no threshold"),
        ({**HOT, "clear": 99}, "can't end at 99 when it begins > 95"),
        ({**HOT, "comparison": "==", "clear": 99}, "can't end at 99"),
        ({**HOT, "name": "manual"}, "alerts by hand"),
    ],
)
def test_a_wrong_rule_is_named_with_what_is_allowed(declared: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match="ALERT_RULES: the rule") as caught:
        rules(declared)
    assert said in str(caught.value)
    assert repr(declared["name"]) in str(caught.value)


def test_a_name_is_there_once() -> None:
    with pytest.raises(ConfigError, match="'hot' is there twice"):
        rules(HOT, HOT)


def test_rules_come_from_the_environment_and_from_config_py(tmp_path: Path) -> None:
    (rule,) = settings(tmp_path, ALERT_RULES=json.dumps([HOT])).alert_rules
    assert (rule.name, rule.hold) == ("hot", 60.0)
    assert rule.model_dump(by_alias=True, exclude_none=True) == HOT
    (tmp_path / "config.py").write_text(f"ALERT_RULES = [{HOT!r}]\n")
    assert settings(tmp_path).alert_rules == [rule]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ALERT_RULES", "cpu", "write a list of dictionaries"),
        ("ALERT_RULES", '[{"name": "x", "comparison": "~"}]', "ALERT_RULES[0].comparison"),
        ("ALERT_RULES", '[{"name": "x"}, {"name": "X Y"}]', "ALERT_RULES[1].name"),
        ("ALERT_RULES", '[{"name": "x", "thresold": 1}]', "known are name, enabled"),
        ("ALERT_RULES", '[{"name": "x", "for": -1}]', "ALERT_RULES[0].for"),
        ("ALERT_CHANNELS", '[{"name": "x"}]', "ALERT_CHANNELS[0].url"),
        ("ALERT_INTERVAL", "0", "greater than or equal to 1"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load({name: value}, tmp_path)
    assert said in str(caught.value)


def test_the_url_of_a_channel_is_not_shown_by_an_error_or_by_the_list(tmp_path: Path) -> None:
    wrong = [{"name": "x", "url": "tgram://123:geheim/5", "per_minute": 0}]
    with pytest.raises(ConfigError) as caught:
        load({"ALERT_CHANNELS": json.dumps(wrong)}, tmp_path)
    assert "geheim" not in str(caught.value)
    wrong[0]["per_minute"] = 5
    rows = load({"ALERT_CHANNELS": json.dumps(wrong)}, tmp_path).rows()
    (row,) = (value for name, value, _ in rows if name == "ALERT_CHANNELS")
    assert "geheim" not in row
    assert json.loads(row)[0]["name"] == "x"
    assert "geheim" not in repr(AlertChannel(name="x", url="tgram://123:geheim/5"))


@pytest.mark.parametrize("url", ["nonsense", "foo://bar/geheimnis", "tgram://", "discord://geheim"])
async def test_a_url_that_apprise_does_not_know_is_refused_without_it(url: str) -> None:
    with pytest.raises(ConfigError, match="channel 'ops'") as caught:
        AppriseChannel("ops", url, Threads())
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ([{"name": "x", "url": "foo://geheim"}], "channel 'x'"),
        ([{"name": "x", "url": "json://a"}] * 2, "two channels are called 'x'"),
        ([{"name": "x", "url": "json://a", "rules": ["disk_lo"]}], "for the rule 'disk_lo'"),
    ],
)
async def test_a_wrong_channel_stops_the_start(
    tmp_path: Path, channels: list[dict[str, Any]], said: str
) -> None:
    environ = {
        "ALERT_CHANNELS": json.dumps(channels),
        "DATA_DIR": str(tmp_path / "data"),
        "DOWNLOAD_DIR": str(tmp_path / "files"),
    }
    with pytest.raises(ConfigError) as caught:
        async with running(settings(tmp_path, **environ)):
            pass
    assert said in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_apprise_is_not_imported_before_there_is_a_channel(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from bot.app import running\n"
        "from bot.config import load\n"
        "async def main():\n"
        "    async with running(load().settings) as app:\n"
        "        assert app.services.alerts is not None\n"
        "        assert 'apprise' not in sys.modules\n"
        "asyncio.run(main())\n"
    )
    environment = {"DATA_DIR": str(tmp_path / "d"), "DOWNLOAD_DIR": str(tmp_path / "f")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[1]), "TORRENT_DHT": "false"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


# Occasions


def test_what_events_say_of_an_alert() -> None:
    failed = events.StageFailed(1.0, "t", "ann", "fetch", "network", "no route", 3, None)
    noticed = NOTICES[events.StageFailed](failed)
    assert noticed is not None
    assert noticed.labels == {"task": "t", "user": "ann"}
    assert noticed.message == "failed in fetch (try 3): no route [network]"
    again = events.StageFailed(1.0, "t", "ann", "fetch", "network", "no route", 1, 9.0)
    assert NOTICES[events.StageFailed](again) is None
    moved = events.TaskMoved(2.0, "t", "ann", TaskState.FAILED, TaskState.QUEUED)
    over = NOTICES[events.TaskMoved](moved)
    assert over is not None
    assert (over.labels, over.message) == (noticed.labels, None)
    moved = events.TaskMoved(2.0, "t", "ann", TaskState.RUNNING, TaskState.FAILED)
    assert NOTICES[events.TaskMoved](moved) is None


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (events.PluginCrashed(1.0, "@here", "exit 1"), "exit 1"),
        (events.PluginKilled(1.0, "@here", "memory"), "it was ended by force: memory"),
        (events.BackupFailed(1.0, "no_space", "full"), "full [no_space]"),
        (events.BackupMade(1.0, "b", "/b", 1, 1.0), None),
        (events.IntegrityChecked(1.0, "c", 9, 2), "2 of 9 files differ or are gone (check c)"),
        (events.IntegrityChecked(1.0, "c", 9, 0), None),
        (events.TaskRemoved(1.0, "t", "ann"), None),
    ],
)
def test_each_kind_of_event_is_understood(event: events.Event, message: str | None) -> None:
    noticed = NOTICES[type(event)](event)
    assert noticed is not None
    assert noticed.message == message
    assert noticed.occasion in OCCASIONS
    assert "@here" not in noticed.labels.values()


# Signals

MOVING = {
    "tasks_queued": 5.0,
    "tasks_running": 1.0,
    "bytes_in_per_second": 1e6,
    "bytes_out_per_second": 0.0,
}
STILL = {**MOVING, "bytes_in_per_second": 0.0}


def moved(task: str, after: TaskState) -> events.TaskMoved:
    return events.TaskMoved(0.0, task, "ann", TaskState.QUEUED, after)


def idle(signals: Signals, clock: ManualClock, passed: float, readings: dict[str, float]) -> float:
    clock.advance(passed)
    return signals.add_to(readings)["queue_idle_seconds"]


def test_a_queue_is_stuck_when_tasks_wait_places_are_free_and_nothing_moves() -> None:
    clock = ManualClock()
    signals = Signals(clock, max_active=2)
    assert idle(signals, clock, 10, MOVING) == 0
    assert idle(signals, clock, 10, STILL) == 10
    assert idle(signals, clock, 10, STILL) == 20
    signals.hear(moved("a", TaskState.RUNNING))
    assert idle(signals, clock, 5, STILL) == 5
    assert idle(signals, clock, 5, {**STILL, "tasks_running": 2.0}) == 0
    assert idle(signals, clock, 5, {**STILL, "tasks_queued": 0.0}) == 0
    signals.hear(moved("a", TaskState.PROCESSING))
    assert idle(signals, clock, 500, STILL) == 0
    signals.hear(moved("a", TaskState.DONE))
    assert idle(signals, clock, 7, STILL) == 7


def test_a_collapse_is_measured_against_the_speed_of_a_while_ago() -> None:
    clock = ManualClock()
    signals = Signals(clock, max_active=2)

    def ratio(speed: float) -> float | None:
        clock.advance(10)
        return signals.add_to({"bytes_in_per_second": speed}).get("speed_ratio")

    assert ratio(1e6) is None  # nothing is fetched
    signals.hear(moved("a", TaskState.RUNNING))
    assert [ratio(1e6) for _ in range(5)] == [None] * 5
    assert ratio(1e6) == 1.0
    found = ratio(1e4)
    assert found == pytest.approx(0.01, rel=0.1)
    later = [ratio(1e4) for _ in range(600)]
    assert later[-1] == pytest.approx(1.0, rel=0.2) or later[-1] is None
    signals.hear(moved("a", TaskState.DONE))
    assert ratio(0.0) is None


def test_a_slow_line_does_not_collapse() -> None:
    clock = ManualClock()
    signals = Signals(clock, max_active=2)
    signals.hear(moved("a", TaskState.RUNNING))
    for _ in range(20):
        clock.advance(10)
        assert "speed_ratio" not in signals.add_to({"bytes_in_per_second": 1000.0})


async def test_tokens_and_certificates_that_end(tmp_path: Path, authority: Authority) -> None:
    clock = ManualClock()
    now = clock.now()
    tokens = [
        Token("1", "laptop", "admin", "ann", now - 86400 * 90, now + 3600),
        Token("2", "forever", "admin", "ann", now),
        Token("3", "for a day", "admin", "ann", now, now + 86400),
        Token("4", "over", "admin", "ann", now - 86400 * 90, now - 1),
    ]

    async def known() -> list[Token]:
        return tokens

    missing = tmp_path / "missing.pem"
    expiries = Expiries(known, [missing], clock)
    found = await expiries.sample()
    assert [(each.reading, each.labels) for each in found] == [
        ("token_left_seconds", {"token": "laptop", "id": "1"}),
        ("certificate_left_seconds", {"certificate": str(missing)}),
    ]
    assert found[0].value == 3600
    assert (found[1].value, found[1].note) == (0.0, "it can't be read: No such file or directory")
    tokens.clear()
    assert len(await expiries.sample()) == 2
    clock.advance(301)
    assert len(await expiries.sample()) == 1


@pytest.mark.parametrize("days", [3, 400, 30_000])
def test_the_end_of_a_certificate_is_read(tmp_path: Path, days: int) -> None:
    # 30,000 days from now a year has four digits in it (RFC 5280, section 4.1.2.5).
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    issuer = trustme.CA()
    issued = issuer.issue_cert("example.org", not_after=end)
    path = tmp_path / "chain.pem"
    path.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    assert certificate_end(path) == end.timestamp()
    issuer.cert_pem.write_to_path(str(path), append=True)
    assert certificate_end(path) <= end.timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----",
    ],
)
def test_what_is_no_certificate_is_called_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.pem"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"certificate|PEM"):
        certificate_end(path)


# Words


@pytest.mark.parametrize(
    ("reading", "value", "text"),
    [
        ("queue_wait_seconds", 42, "42 s"),
        ("last_backup_age_seconds", 90000, "1.0 d"),
        ("disk_free_bytes", 3 * 1024**2, "3.0 MiB"),
        ("bytes_in_per_second", 512, "512 B"),
        ("disk_free_ratio", 0.031, "3.1%"),
        ("cpu_percent", 99.5, "99.5"),
    ],
)
def test_values_for_people(reading: str, value: float, text: str) -> None:
    assert shown(reading, value) == text


def test_what_is_wrong_comes_with_its_figures() -> None:
    rule = ReadingRule("disk_low", Severity.HIGH, "t", "disk_free_ratio", "<", 0.05, 60.0)
    text = "disk_free_ratio is 3.1%, below 5.0% for 1.0 min"
    assert broken(rule, Sample("disk_free_ratio", 0.031)) == text
    assert broken(rule, Sample("disk_free_ratio", 0.0, {"disk": "/a"}, "gone")) == "/a: gone"
    assert broken(rule, None) == "disk_free_ratio is not there"
