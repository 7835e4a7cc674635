"""Channels through apprise, to a real receiver of webhooks that fails, hangs and returns."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.domain.alerts import Notification, Severity
from bot.errors import Unavailable
from bot.operations import alert_channels
from bot.operations.alert_channels import AppriseChannel, Threads
from bot.services import OWNER
from tests.alerting import Rig, alerting
from tests.servers.webhook import Webhook
from tests.serving import eventually

HOSTILE = "@everyone <!channel> [x](http://evil) <b>\x1b[31m\u202e `rm`" + "x" * 10_000


@asynccontextmanager
async def telling(directory: Path, hook: Webhook) -> AsyncIterator[Rig]:
    """Alerts at work that tell that hook."""
    names = {"t1": HOSTILE}
    async with alerting(directory, AppriseChannel("hook", hook.url, Threads()), names=names) as it:
        yield it


def notification(body: str = "body", severity: Severity = Severity.HIGH) -> Notification:
    return Notification("n", "raised", severity, "title", body, ("r",), 1.0)


async def test_a_receiver_that_fails_and_returns_gets_everything(tmp_path: Path) -> None:
    with Webhook() as hook:
        hook.status = 503
        async with telling(tmp_path, hook) as it:
            it.fail("t2")
            await it.until(lambda: len(hook.refused) >= 2)
            hook.down()
            health = it.alerts.couriers.all[0].health
            before = health.failing
            await it.until(lambda: health.failing >= before + 2)
            assert health.error is not None
            assert "127.0.0.1" not in health.error
            hook.status = 200
            hook.up()
            await it.until(lambda: len(hook.received) == 1)
            await it.until_counts("hook", delivered=1)
            assert hook.received[0]["title"] == "[medium] Task failed"
            assert hook.received[0]["type"] == "warning"
            assert health.error is None


async def test_hostile_names_do_nothing_in_a_message(tmp_path: Path) -> None:
    with Webhook() as hook:
        async with telling(tmp_path, hook) as it:
            it.fail("t1", f"the server says {HOSTILE}")
            await it.service.trigger(OWNER, HOSTILE[:200], HOSTILE[:4000], Severity.LOW, {})
            await it.until(lambda: len(hook.received) == 2)
        for message in hook.received:
            text = message["title"] + message["message"]
            assert "@everyone" not in text
            assert not {"<", ">", "`", "\x1b", "\u202e"} & set(text)
            assert "](" not in text
            assert "://" not in text
            assert len(text) < 3000


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What the log of a service has at the level debug: whatever reaches the root logger."""
    text, root = io.StringIO(), logging.getLogger()
    handler, before = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.removeHandler(handler)
    root.setLevel(before)


async def test_the_reason_of_a_failure_has_no_secret_and_goes_to_no_log(
    logged: io.StringIO,
) -> None:
    with Webhook() as hook:
        hook.status = 403
        url = f"json://ann:geheim%40wort@127.0.0.1:{hook.port}/pfadtoken/?+X-Key=kopftoken"
        channel = AppriseChannel("ops", url, Threads())
        assert channel.shown == "json://***"
        with pytest.raises(Unavailable, match="403") as caught:
            await channel.send(notification())
    logging.getLogger("any").debug("is heard")
    said = str(caught.value) + logged.getvalue()
    assert "is heard" in said
    for secret in ("geheim", "wort", "pfadtoken", "kopftoken"):
        assert secret not in said


async def test_one_that_hangs_is_given_up_for_now_and_holds_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alert_channels, "_SECONDS", 0.2)
    threads = Threads(most=2)
    with Webhook() as hook, Webhook() as other:
        hook.gate = threading.Event()
        hanging = AppriseChannel("hanging", hook.url, threads)
        with pytest.raises(Unavailable, match=r"no answer in 0.2 seconds"):
            await hanging.send(notification())
        with pytest.raises(Unavailable, match="still hangs"):
            await hanging.send(notification())
        monkeypatch.setattr(alert_channels, "_SECONDS", 20.0)
        await AppriseChannel("other", other.url, threads).send(notification())
        assert other.bodies == ["title\nbody"]
        hook.gate.set()
        async with asyncio.timeout(20):
            while True:
                try:
                    await hanging.send(notification("again"))
                    break
                except Unavailable:
                    await asyncio.sleep(0.01)
        assert hook.bodies == ["title\nbody", "title\nagain"]


async def test_threads_are_few(tmp_path: Path) -> None:
    threads, gate, running, most = Threads(most=2), threading.Event(), [0], [0]
    lock = threading.Lock()

    def work() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        gate.wait(20)
        with lock:
            running[0] -= 1

    tasks = [asyncio.ensure_future(threads.run(work, "t")) for _ in range(6)]
    await asyncio.to_thread(eventually, lambda: running[0] == 2, lambda: str(running))
    gate.set()
    await asyncio.gather(*tasks)
    assert most[0] == 2


async def test_a_plugin_of_apprise_that_breaks_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel = AppriseChannel("ops", "json://127.0.0.1:1/geheimnis", Threads())

    def broken(**_: object) -> bool:
        raise ValueError("no geheimnis")

    monkeypatch.setattr(channel._service, "notify", broken)
    with pytest.raises(Unavailable, match=r"ValueError: no \*\*\*"):
        await channel.send(notification())
