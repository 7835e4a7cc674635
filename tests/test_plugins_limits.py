"""What plugins take of the machine: counted, shown, and cut where it is too much."""

from __future__ import annotations

import asyncio
import os
import textwrap
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from bot.cli.client import ServiceError
from bot.domain.plugins import Signature
from bot.errors import PluginFailed
from bot.lock import Doorplate
from bot.plugins import tiers, usage
from bot.plugins.limits import Limiter
from bot.plugins.manifest import Manifest, Package
from bot.plugins.signing import Verdict
from bot.plugins.supervisor import Plugin, Supervisor
from bot.plugins.usage import MAX_ENTRIES, TooMuch
from bot.plugins.values import Values
from bot.store.plugins import Plugins
from bot.store.repository import open_store
from tests.hostile import den
from tests.serving import Service, eventually
from tests.test_metrics import OPENMETRICS, Series, series, value

MIB = 1024 * 1024
_GREEDY = """
from bot.core.plugin_manager import BasePlugin
import asyncio, os, time

class Greedy(BasePlugin):
    async def execute(self, what, **given):
        return await getattr(self, what)(**given)

    async def nothing(self):
        return "well"

    async def fails(self):
        raise ValueError("no")

    async def sleeps(self):
        await asyncio.sleep(3600)

    async def dies(self):
        os._exit(3)

    async def eats(self, size):
        self.kept = bytearray(size)
        for place in range(0, size, 4096):
            self.kept[place] = 1
        await asyncio.sleep(3600)

    async def fills(self, count, size):
        for number in range(count):
            with open(f"file{number}", "wb") as file:
                file.write(os.urandom(size))

    async def hides(self, count, size):
        self.files = []
        for _ in range(count):
            file = open("hidden", "wb")
            file.write(os.urandom(size))
            file.flush()
            os.unlink("hidden")
            self.files.append(file)

    async def burns(self, seconds):
        until = time.process_time() + seconds
        while time.process_time() < until:
            pass
        return "burnt"
"""


def _write(service: Service, name: str, code: str) -> None:
    service.plugins.mkdir(exist_ok=True)
    (service.plugins / f"{name}.py").write_text(textwrap.dedent(code))


def _plugin(service: Service, name: str = "greedy") -> dict[str, Any]:
    found: dict[str, Any] = service.client.get(f"/plugins/{name}")
    return found


def _until(service: Service, state: str, name: str = "greedy") -> dict[str, Any]:
    eventually(
        lambda: name in {each["id"] for each in service.client.get("/plugins/list")["items"]},
        lambda: str(service.client.get("/plugins/list")),
    )
    eventually(
        lambda: _plugin(service, name)["state"] == state, lambda: str(_plugin(service, name))
    )
    return _plugin(service, name)


def _do(service: Service, what: str, **given: object) -> Any:
    data = {"what": what, **given}
    return service.client.post("/plugins/execute", {"plugin_name": "greedy", "data": data})[
        "result"
    ]


def _page(service: Service) -> Series:
    """What Prometheus reads."""
    request = urllib.request.Request(service.url + "/metrics", headers={"Accept": OPENMETRICS})
    request.add_header("Authorization", f"Bearer {Doorplate(service.data).token}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return series(answer.read())


def test_what_becomes_of_calls_is_counted_and_told(tmp_path: Path) -> None:
    service = Service(tmp_path, PLUGIN_TIMEOUT="2")
    _write(service, "greedy", _GREEDY)
    with service:
        tier = _until(service, "running")["tier"]
        assert _do(service, "nothing") == "well"
        with pytest.raises(ServiceError, match="ValueError: no"):
            _do(service, "fails")
        eventually(lambda: bool(_plugin(service)["memory"]), lambda: str(_plugin(service)))
        page = _page(service)
        assert value(page, "mltb_plugin_calls_total", plugin="greedy", outcome="ok") == 1
        assert value(page, "mltb_plugin_calls_total", plugin="greedy", outcome="error") == 1
        assert value(page, "mltb_plugin_calls_total", plugin="greedy", outcome="timeout") == 0
        assert value(page, "mltb_plugin_state", plugin="greedy", state="running") == 1
        assert value(page, "mltb_plugin_state", plugin="greedy", state="failed") == 0
        assert value(page, "mltb_plugin_memory_bytes", plugin="greedy") > MIB
        assert value(page, "mltb_plugins_confined", tier=tier) == 1
        with pytest.raises(ServiceError, match="did not answer within 2 s"):
            _do(service, "sleeps")
        _until(service, "running")
        with pytest.raises(ServiceError, match="status 3"):
            _do(service, "dies")
        _until(service, "running")
        service.client.post("/plugins/reload", {"plugin_name": "greedy"})
        page = _page(service)
        assert value(page, "mltb_plugin_calls_total", plugin="greedy", outcome="timeout") == 1
        assert value(page, "mltb_plugin_calls_total", plugin="greedy", outcome="error") == 2
        assert value(page, "mltb_plugin_kills_total", plugin="greedy") == 1
        assert value(page, "mltb_plugin_crashes_total", plugin="greedy") == 1
        assert value(page, "mltb_plugin_call_seconds_total", plugin="greedy") >= 2
        (alert,) = service.client.get("/alerts/recent", rule="plugin_crashed")["items"]
        assert "status 3" in alert["message"]


def test_too_much_memory_or_disk_ends_a_plugin(tmp_path: Path) -> None:
    service = Service(tmp_path, PLUGIN_MEMORY_LIMIT="64", PLUGIN_THRESHOLDS__DISK_QUOTA="4")
    _write(service, "greedy", _GREEDY)
    with service:
        _until(service, "running")
        with pytest.raises(ServiceError, match=r"it held \d\d\.\d MB; 64\.0 MB are allowed"):
            _do(service, "eats", size=60 * MIB)
        _until(service, "running")
        with pytest.raises(ServiceError, match="MemoryError"):
            _do(service, "eats", size=80 * MIB)
        _do(service, "hides", count=3, size=2 * MIB)
        if os.getuid() == 0 or _plugin(service)["open_files"] is not None:
            eventually(lambda: _plugin(service)["kills"] == 2, lambda: str(_plugin(service)))
            assert "files without a name" in str(_plugin(service)["reason"])
        _until(service, "running")
        _do(service, "fills", count=3, size=2 * MIB)
        assert "its directory holds 6.0 MB" in str(_until(service, "failed")["reason"])
        # It stays away until somebody has made room.
        with pytest.raises(ServiceError, match="its directory holds"):
            service.client.post("/plugins/reload", {"plugin_name": "greedy"})
        service.terminate()
        service.start()
        assert "make room" in str(_until(service, "failed")["reason"])
        (service.data / "plugins/state/greedy/file0").unlink()
        (service.data / "plugins/state/greedy/file1").unlink()
        service.client.post("/plugins/enable", {"plugin_name": "greedy"})
        assert _until(service, "running")["disk"] is None
        assert _do(service, "nothing") == "well"


def _until_new(service: Service, name: str, before: list[object]) -> None:
    eventually(
        lambda: _plugin(service, name)["pid"] not in {None, *before},
        lambda: str(_plugin(service, name)),
    )


def _zygote(service: Service, name: str = "greedy") -> psutil.Process:
    """The process that the plugin was forked from."""
    parent = psutil.Process(int(_plugin(service, name)["pid"])).parent()
    assert parent is not None
    return parent


def test_plugins_come_back_when_what_they_come_from_is_gone(tmp_path: Path) -> None:
    service = Service(tmp_path)
    _write(service, "greedy", _GREEDY)
    _write(service, "other", _GREEDY.replace("Greedy", "Other"))
    with service:
        before = [_until(service, "running", name)["pid"] for name in ("greedy", "other")]
        _zygote(service).kill()
        for name in ("greedy", "other"):
            _until_new(service, name, before)
        assert _do(service, "nothing") == "well"


_SHORT_LIVED = """
from bot.core.plugin_manager import BasePlugin
import asyncio, os

class ShortLived(BasePlugin):
    async def initialize(self):
        asyncio.get_running_loop().call_soon(os._exit, 5)
        return True
"""


def test_who_ends_right_after_the_start_does_not_run(tmp_path: Path) -> None:
    service = Service(tmp_path)
    _write(service, "short_lived", _SHORT_LIVED)
    with service:
        assert "status 5" in str(_until(service, "waiting", "short_lived")["reason"])
        assert _plugin(service, "short_lived")["crashes"] >= 1


_HANGS = """
from bot.core.plugin_manager import BasePlugin
import time

class Hangs{number}(BasePlugin):
    async def initialize(self):
        time.sleep(3600)
"""


def test_plugins_that_never_come_up_hold_up_nobody(tmp_path: Path) -> None:
    service = Service(tmp_path, PLUGIN_TIMEOUT="3600")
    hanging = [f"hangs{number}" for number in range(10)]
    for number, name in enumerate(hanging):
        _write(service, name, _HANGS.format(number=number))
    _write(service, "greedy", _GREEDY)
    with service:  # ready, while they hang
        _until(service, "running")
        assert _do(service, "nothing") == "well"
        states = {
            each["id"]: each["state"] for each in service.client.get("/plugins/list")["items"]
        }
        assert {states[name] for name in hanging} == {"loading"}
        assert service.terminate() == 0


# The share of the CPU, with a clock of its own


class _Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


async def _becomes(pid: int, status: str) -> None:
    process = psutil.Process(pid)
    await asyncio.to_thread(
        eventually, lambda: process.status() == status, lambda: process.status()
    )


async def test_who_uses_too_much_of_the_processor_has_to_wait(tmp_path: Path) -> None:
    async with den(tmp_path, tiers.of_this_machine()) as it:
        clock = _Clock()
        package = Package(Manifest(id="hostile"), it.code, it.code / "hostile.py")
        store = await open_store(f"sqlite:///{tmp_path / 'store.db'}")
        values = Values("hostile", Plugins(store.database), MIB)
        verdict, tier = Verdict(Signature.UNSIGNED), it.zygote.tier
        plugin = Plugin(package, "", verdict, tier, it.spec, it.broker, values, 30, str)
        supervisor = Supervisor(plugin, it.zygote, clock, lambda _: None)
        limiter = Limiter(lambda: [supervisor], clock, share=0.1)
        await supervisor.start()
        await limiter.look()
        await supervisor.call("execute", _BURN.format(seconds=0.7))
        await limiter.look()
        pid = supervisor.pid
        assert pid is not None
        await _becomes(pid, psutil.STATUS_STOPPED)
        waiting = asyncio.ensure_future(supervisor.call("execute", "result = 'well'"))
        clock.time += 1
        await limiter.look()
        assert not waiting.done()
        await _becomes(pid, psutil.STATUS_STOPPED)
        clock.time += 100
        await limiter.look()
        assert await waiting == "well"
        assert plugin.counts.cpu > 0.5
        # Who goes because a newer version came ends what it does before.
        await supervisor.call("execute", _BURN.format(seconds=0.7))
        await limiter.look()
        await _becomes(pid, psutil.STATUS_STOPPED)
        waiting = asyncio.ensure_future(supervisor.call("execute", "result = 'last'"))
        await asyncio.sleep(0)
        await supervisor.idle()
        assert await waiting == "last"
        clock.time += 100
        await limiter.look()
        # Stopped or not, a deadline holds, and so does the end in good order.
        await supervisor.call("execute", _BURN.format(seconds=0.7))
        await limiter.look()
        await _becomes(pid, psutil.STATUS_STOPPED)
        with pytest.raises(PluginFailed, match="did not answer"):
            await supervisor.call("execute", "result = 1", timeout=0.2)
        await supervisor.stop()
        await store.close()


_BURN = """
import time
until = time.process_time() + {seconds}
while time.process_time() < until:
    pass
"""


# What a directory holds


def test_what_a_directory_holds_is_counted_without_following_anything(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "below").mkdir(parents=True)
    (own / "below/file").write_bytes(bytes(MIB))
    (tmp_path / "big").write_bytes(bytes(8 * MIB))
    (own / "link").symlink_to(tmp_path / "big")
    (own / "round").symlink_to(own)
    with (own / "holes").open("wb") as file:
        file.truncate(1 << 40)
    assert MIB <= usage.of_directory(own) < 2 * MIB
    (own / "root").symlink_to("/")
    with pytest.raises(OSError, match="root"):
        usage.of_directory(own / "root")


def test_too_many_files_and_too_deep_ones_are_too_much(tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(MAX_ENTRIES + 1):
        os.close(os.open(many / str(number), os.O_CREAT | os.O_WRONLY))
    with pytest.raises(TooMuch, match="more than 10000 files"):
        usage.of_directory(many)
    (many / "0").unlink()
    assert usage.of_directory(many) >= 0
    deep = tmp_path / "deep"
    deep.joinpath(*("d",) * 100).mkdir(parents=True)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(TooMuch, match="deep"):
        usage.of_directory(deep)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
