"""What the store on SQLite costs among 100,000 tasks; of a page, the worst of ten orders.

    python -m benchmarks store
    python -m benchmarks.store [--tasks 100000] [--url URL]

`client CPU` is the CPU time of the whole process for each
save: encoding, hand-over, SQLite itself, everything but the waiting for the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks.rig import Result
from bot.domain.ports import TaskQuery
from bot.domain.task import FileEntry, Receipt, Stage, StageKind, StageState, Task, TaskState
from bot.store.repository import Store, open_store

_WORDS = [
    f"{word}{number}" for word in ("atlas", "river", "stone", "cloud") for number in range(99)
]


def finished_task(number: int, chance: random.Random) -> Task:
    """A task such as a user leaves behind, with four stages and a receipt."""
    first, second = chance.choice(_WORDS), chance.choice(_WORDS)
    name = f"{first}-{second}-{number:06d}.tar.gz"
    state = chance.choice([TaskState.DONE] * 8 + [TaskState.FAILED, TaskState.CANCELLED])
    at = 1_700_000_000.0 + number * 60
    stages = [
        Stage(kind, "http", state=StageState.DONE, attempt=1, started_at=at, finished_at=at + 5)
        for kind in (StageKind.FETCH, StageKind.STEP, StageKind.DELIVER, StageKind.VERIFY)
    ]
    stages[0].token = {"etag": '"abcdef"', "ranges": [[0, 1 << 20], [1 << 20, 1 << 21]]}
    return Task(
        id=f"{number:016d}",
        user=chance.choice(["admin"] * 8 + ["bob", "carol"]),
        source=f"https://{first}.example.org/pub/{second}/{name}",
        destination="/srv/downloads",
        created_at=at,
        updated_at=at + chance.random() * 600,
        finished_at=at + 600,
        state=state,
        engine=chance.choice(["http", "http", "torrent", "rclone"]),
        name=name,
        size=chance.randrange(1 << 33),
        priority=chance.choice([0, 0, 0, 1, 5]),
        stages=stages,
    )


def receipt_of(task: Task) -> Receipt:
    """What the delivery of ``task`` left."""
    size = task.size or 0
    return Receipt(
        task=task.id,
        source=task.source,
        destination=task.destination,
        files=[FileEntry(task.name or "", size, "0" * 64)],
        size=size,
        sha256="0" * 64,
        path=f"{task.destination}/{task.name}",
        method="read-back",
        steps=["fetch", "deliver", "verify"],
        created_at=task.created_at,
        finished_at=task.created_at + 600,
    )


def measure() -> Iterator[Result]:
    """The figures on a new SQLite database."""
    with tempfile.TemporaryDirectory(prefix="mltb-bench-") as directory:
        yield from asyncio.run(_measure(f"sqlite:///{Path(directory, 'store.db')}", 100_000))


async def _measure(url: str, count: int) -> list[Result]:
    found: list[Result] = []
    store = await open_store(url)
    tasks = await _adding(store, count, found)
    await _saving(store, tasks, found)
    await _reading(store, tasks, found)
    await store.close()
    began = time.perf_counter()
    store = await open_store(url)
    await store.unfinished()
    found.append(_timed("open and unfinished()", time.perf_counter() - began, 3000))
    await store.close()
    return found


def _timed(claim: str, seconds: float, limit: float) -> Result:
    """A result whose limit is in milliseconds."""
    taken = seconds * 1e3
    return Result(claim, f"{taken:.1f} ms", f"at most {limit:.0f} ms", taken <= limit)


async def _adding(store: Store, count: int, found: list[Result]) -> list[Task]:
    chance = random.Random(1)
    tasks = [finished_task(number, chance) for number in range(count)]
    rates = []
    for start in range(0, count, 10_000):
        part = tasks[start : start + 10_000]
        began = time.perf_counter()
        await store.add(part)
        rates.append(len(part) / (time.perf_counter() - began))
    figure = f"{rates[0]:,.0f}/s into an empty one, {rates[-1]:,.0f}/s at {count:,}"
    found.append(Result("add 10,000 in one call", figure))
    return tasks


async def _saving(store: Store, tasks: list[Task], found: list[Result]) -> None:
    recent = tasks[-1000:]
    for task in recent:
        task.state = TaskState.RUNNING
    for label, step in (("first (all columns)", _nothing), ("checkpoints", _checkpoint),
                        ("moves", _move)):  # fmt: skip
        rates, costs = [], []
        for number in range(5):
            for task in recent:
                step(task, number)
            cpu, began = time.process_time(), time.perf_counter()
            await asyncio.gather(*(store.save(task) for task in recent))
            rates.append(len(recent) / (time.perf_counter() - began))
            costs.append((time.process_time() - cpu) / len(recent) * 1e6)
            if step is _nothing:
                break
        figure = f"{statistics.median(rates):,.0f}/s, client CPU {statistics.median(costs):.0f} µs"
        found.append(Result(f"save 1,000 at once, {label}", figure))
    cpu, began = time.process_time(), time.perf_counter()
    for task in recent[:200]:
        await store.save(task)
    rate, cost = 200 / (time.perf_counter() - began), (time.process_time() - cpu) / 200 * 1e6
    found.append(Result("save one after the other", f"{rate:,.0f}/s, client CPU {cost:.0f} µs"))
    for task in recent:
        task.state = TaskState.DONE
        task.receipt = receipt_of(task)
    cpu = time.process_time()
    await asyncio.gather(*(store.save(task) for task in recent))
    cost = (time.process_time() - cpu) / len(recent) * 1e6
    found.append(Result("save with a receipt", f"client CPU {cost:.0f} µs"))


def _nothing(_task: Task, _number: int) -> None:
    pass


def _checkpoint(task: Task, number: int) -> None:
    task.stages[0].token = {"ranges": [[0, number]]}
    task.updated_at += 1


def _move(task: Task, number: int) -> None:
    task.state = TaskState.RUNNING if number % 2 else TaskState.DELIVERING
    task.updated_at += 1


async def _reading(store: Store, tasks: list[Task], found: list[Result]) -> None:
    rare = tasks[len(tasks) // 2]
    done = (TaskState.DONE,)
    queries = {
        "none": TaskQuery(),
        "state": TaskQuery(states=done),
        "state, user, engine": TaskQuery(states=done, user="admin", engine="rclone"),
        "user without tasks": TaskQuery(user="nobody"),
        "state without tasks": TaskQuery(states=(TaskState.QUEUED,)),
        "time": TaskQuery(since=rare.created_at, until=rare.created_at + 86400),
        "text, one match": TaskQuery(text=rare.name),
        "text, some matches": TaskQuery(text=(rare.name or "").split("-")[0] + "-"),
        "text in all": TaskQuery(text="EXAMPLE.org/pub"),
        "text without match": TaskQuery(text="zzzzzz"),
        "text of 2 without match": TaskQuery(text="~~"),
        "text in all, user without tasks": TaskQuery(text="example", user="nobody"),
    }
    for label, query in queries.items():
        worst = 0.0
        for sort in ("created", "updated", "size", "name", "priority"):
            for descending in (True, False):
                worst = max(worst, await _page(store, query, sort, descending))
        found.append(_timed(f"page of 50, filter: {label}", worst / 1e3, 20))
    began = time.perf_counter()
    await store.count()
    all_users = time.perf_counter() - began
    await store.count("admin")
    one_user = time.perf_counter() - began - all_users
    figure = f"{all_users * 1e3:.1f} ms; of one user {one_user * 1e3:.1f} ms"
    found.append(Result("count()", figure))


async def _page(store: Store, query: TaskQuery, sort: str, descending: bool) -> float:
    """Milliseconds of the first page and of one further on, the median of three."""
    taken = []
    for _ in range(3):
        asked = msgspec.structs.replace(query, sort=sort, descending=descending)
        worst = 0.0
        for _ in range(3):
            began = time.perf_counter()
            page = await store.page(asked)
            worst = max(worst, time.perf_counter() - began)
            if page.cursor is None:
                break
            asked = msgspec.structs.replace(asked, cursor=page.cursor)
        taken.append(worst * 1e3)
    return statistics.median(taken)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--url", help="an empty database; a new SQLite file by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mltb-bench-") as directory:
        url = options.url or f"sqlite:///{Path(directory, 'store.db')}"
        for result in asyncio.run(_measure(url, options.tasks)):
            print(f"{result.claim}: {result.figure}")


if __name__ == "__main__":
    main()
