"""What a start says of the run before, of checks that were cut off, and of a damaged database."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from bot.domain.events import Event, EventHub, IntegrityChecked
from bot.domain.integrity import CheckScope, CheckState, Finding, Order
from bot.domain.task import FileEntry, Receipt, Task, TaskState
from bot.engines.local import LocalEngine
from bot.engines.registry import Engines
from bot.errors import Conflict
from bot.operations.integrity import Integrity
from bot.operations.integrity_schedule import Schedule
from bot.store.recovery import RecoveryStore
from bot.store.repository import Store, open_store
from tests.rig import ManualClock
from tests.servers.behaviours import Gate, Gated
from tests.servers.http import HttpServer
from tests.servers.routes import MIB, Generated, Resource
from tests.serving import Json, Service, eventually
from tests.storing import new_task


def report(service: Service) -> Json:
    """What the last start found, once the first sweep is over."""
    status: Json = {}

    def swept() -> bool:
        status.update(service.client.get("/recovery/status"))
        return bool(status["start"]["swept"])

    eventually(swept, lambda: str(status))
    start: Json = status["start"]
    return start


def test_a_start_says_how_the_run_before_ended(tmp_path: Path, http_server: HttpServer) -> None:
    gate = Gate()
    http_server.add("/held.bin", Gated(Resource(Generated(4 * MIB, seed=1)), gate, 2 * MIB))
    http_server.add("/big.bin", Resource(Generated(8 * MIB, seed=2)))
    with Service(tmp_path, INTEGRITY_RATE="100K") as service:
        first = report(service)
        assert (first["clean"], first["recovered"]["resumed"]) == (True, [])
        service.fetch(http_server.url("/big.bin"))
        held = service.mirror(http_server.url("/held.bin"), options={"segments": 1})
        service.until_checkpoint(held)
        check = service.client.post("/recovery/verify-integrity", {"all": True})
        assert check["state"] == "running"
        with pytest.raises(Exception, match="runs already"):
            service.client.post("/recovery/verify-integrity", {"data": True})
        lost = service.files / ".mltb" / "0123456789abcdef"
        lost.mkdir()
        service.kill()
        # A command of its own does not take the word away from the next service.
        assert service.run("list").status == 0
        service.start()
        start = report(service)
        assert start["clean"] is False
        (resumed,) = start["recovered"]["resumed"]
        assert (resumed["task"], resumed["stage"]) == (held["id"], "fetch")
        assert MIB <= resumed["kept"] <= 4 * MIB
        assert start["recovered"]["checks"] == [check["id"]]
        assert start["recovered"]["workspaces"] == [lost.name]
        assert start["recovered"]["failed"] == []
        assert service.client.get(f"/recovery/checks/{check['id']}")["state"] == "interrupted"
        assert "started after a crash: 1 tasks go on" in service.log
        gate.open()
        assert service.until(held)["state"] == "done"
        assert service.terminate() == 0
        service.start()
        start = report(service)
        assert (start["clean"], start["recovered"]["checks"]) == (True, [])
        assert start["recovered"]["resumed"] == []
        starts = service.client.get("/recovery/history", of="starts")["items"]
        assert [each["killed"] for each in starts] == [False, False, True]
        rates = service.client.get("/recovery/status")["tasks"]
        assert rates["day"] == rates["all"] == {"good": 2, "total": 2, "ratio": 1.0}


async def test_a_damaged_page_is_found_in_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await open_store(f"sqlite:///{path}")
    await store.add([new_task(number) for number in range(2000)])
    assert await store.database.complaints() == []
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    await store.close()
    with copy.open("r+b") as file:
        file.seek(copy.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    damaged = await open_store(f"sqlite:///{copy}")
    assert await damaged.database.complaints() != []
    await damaged.close()


async def test_postgresql_reads_all_that_it_holds(postgres_url: str) -> None:
    store = await open_store(postgres_url.replace("+asyncpg", ""))
    await store.add([new_task(number) for number in range(10)])
    assert await store.database.complaints() == []
    await store.close()


class _NoData:
    async def run(self) -> AsyncIterator[list[Finding]]:
        """Nothing is wrong."""
        yield []


def checker(store: Store, root: Path, clock: ManualClock, told: list[Event]) -> Integrity:
    hub = EventHub()
    hub.listen(told.append)
    return Integrity(
        store=RecoveryStore(store.database),
        engines=Engines([LocalEngine([root])]),
        hub=hub,
        clock=clock,
        data=_NoData(),
        rate=None,
        keep=5,
    )


def _delivered(number: int, root: Path, *, size: int = 1) -> Task:
    task = new_task(number)
    task.state, task.finished_at = TaskState.DONE, float(number)
    path = f"f{number}.bin"
    task.receipt = Receipt(
        task=task.id,
        source=task.source,
        destination=str(root),
        files=[FileEntry(path, size, None)],
        size=size,
        sha256=None,
        path=f"{root}/{path}",
        method="read-back",
        steps=["fetch", "deliver", "verify"],
        created_at=0.0,
        finished_at=float(number),
    )
    return task


async def filled(store: Store, root: Path, count: int) -> None:
    tasks = [_delivered(number, root) for number in range(count)]
    receipts = [task.receipt for task in tasks]
    for task in tasks:
        task.receipt = None
    await store.add(tasks)
    for task, receipt in zip(tasks, receipts, strict=True):
        task.receipt = receipt
    await asyncio.gather(*(store.save(task) for task in tasks))


async def test_ten_thousand_receipts_are_checked_in_bounded_memory(tmp_path: Path) -> None:
    root, clock, told = tmp_path / "files", ManualClock(), list[Event]()
    root.mkdir()
    store = await open_store(f"sqlite:///{tmp_path / 'store.db'}")
    await filled(store, root, 10_000)
    integrity = checker(store, root, clock, told)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check = await integrity.start("ann", Order(CheckScope.ALL))
    with pytest.raises(Conflict):
        await integrity.start("bob", Order(CheckScope.ALL))
    await integrity.wait(check.id, None)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20 * 1024, f"{grown} KiB more"
    found = await integrity.show(check.id)
    assert (found.state, found.files, found.wrong) == (CheckState.DONE, 10_000, 10_000)
    assert [event for event in told if isinstance(event, IntegrityChecked)] == [
        IntegrityChecked(clock.now(), check.id, 10_000, 10_000)
    ]
    await store.close()


async def test_a_check_goes_on_where_it_was_limited_and_old_ones_go(tmp_path: Path) -> None:
    root, clock, told = tmp_path / "files", ManualClock(), list[Event]()
    root.mkdir()
    store = await open_store(f"sqlite:///{tmp_path / 'store.db'}")
    await filled(store, root, 130)
    integrity = checker(store, root, clock, told)
    seen: set[str] = set()
    cursor = None
    for expected in (60, 60, 10):
        check = await integrity.start("ann", Order(CheckScope.ALL, limit=60, cursor=cursor))
        await integrity.wait(check.id, None)
        cursor, kept = check.cursor, RecoveryStore(store.database)
        paths = {each.path for each in await kept.findings(check.id, after=0, limit=500)}
        assert (len(paths), len(paths & seen)) == (expected, 0)
        seen |= paths
    assert cursor is None
    for _ in range(6):
        check = await integrity.start("ann", Order(CheckScope.ALL, limit=1))
        await integrity.wait(check.id, None)
    assert len(await kept.checks(limit=50)) == 5
    await store.close()


async def test_the_schedule_goes_through_all_receipts_whatever_the_clock_does(
    tmp_path: Path,
) -> None:
    root, clock, told = tmp_path / "files", ManualClock(), list[Event]()
    root.mkdir()
    store = await open_store(f"sqlite:///{tmp_path / 'store.db'}")
    await filled(store, root, 5)
    integrity = checker(store, root, clock, told)
    schedule = Schedule(integrity, RecoveryStore(store.database), clock, interval=100.0, batch=3)

    async def ended(count: int) -> None:
        async with asyncio.timeout(20):
            while len(told) < count or not clock._sleepers:  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    schedule.start()
    await ended(1)
    clock.advance(100)
    await ended(2)
    clock._now -= 1_000_000  # set back
    clock.advance(1_000_100)
    await ended(3)
    await schedule.stop()
    files = [event.files for event in told if isinstance(event, IntegrityChecked)]
    assert files == [3, 2, 3]
    await store.close()
