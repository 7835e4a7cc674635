"""Tasks from submission to their end, over the real store, runner and local engine."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from bot.domain import events
from bot.domain.ports import TaskQuery
from bot.domain.task import StageState, StepSpec, TaskOptions, TaskState
from bot.errors import (
    Conflict,
    Corrupt,
    Duplicate,
    Forbidden,
    IllegalMove,
    InvalidInput,
    NetworkFailed,
    NotFound,
    PolicyRefused,
    QuotaReached,
    SourceNotFound,
    TooMany,
    Unavailable,
    Unsupported,
)
from bot.services import OWNER, Caller, Scope, Submission
from tests.rig import Script, rig

_S = TaskState
ANNA = Caller("anna", Scope.OPERATE)
BERT = Caller("bert", Scope.OPERATE)


async def test_a_link_goes_in_and_a_verified_file_comes_out(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        task = await it.until(await it.submit())
        assert task.state is _S.DONE
        receipt = task.receipt
        assert receipt is not None
        assert Path(receipt.path or "").read_bytes() == b"content"
        assert receipt.sha256 == hashlib.sha256(b"content").hexdigest()
        assert receipt.method == "same-inode"
        assert it.work == []
        kinds = [type(event) for event in it.events]
        assert kinds[0] is events.TaskSubmitted
        assert kinds[-1] is events.TaskDone
        assert [e.after for e in it.events if isinstance(e, events.TaskMoved)] == [
            _S.PROBING,
            _S.RUNNING,
            _S.DELIVERING,
            _S.VERIFYING,
            _S.DONE,
        ]


async def test_steps_run_in_order_on_what_came_before(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        task = await it.until(await it.submit(steps=[StepSpec("upper"), StepSpec("upper")]))
        assert task.receipt is not None
        assert Path(task.receipt.path or "").read_bytes() == b"CONTENT"
        assert it.upper.runs == 2
        assert it.work == []


async def test_several_files_come_as_one_folder(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.source.scripts["a"] = Script({"one.txt": b"1", "sub/two.txt": b"22"})
        task = await it.until(await it.submit())
        assert task.receipt is not None
        assert (it.root / "folder" / "sub" / "two.txt").read_bytes() == b"22"
        assert task.receipt.size == 3
        assert len(task.receipt.files) == 2


async def test_a_retryable_failure_is_tried_again_after_its_wait(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.source.scripts["a"] = Script(errors=[NetworkFailed("broke"), NetworkFailed("broke")])
        task = await it.submit()
        await it.until(task, _S.RETRYING)
        assert len(it.source.fetches) == 1
        it.clock.advance(1.0)  # base 2 s without jitter is 1 s: the lower end
        await it.failed_again(task, 2)
        it.clock.advance(2.0)
        done = await it.until(task)
        assert done.state is _S.DONE
        # The token of the first try came with the later ones.
        assert [token for _, token in it.source.fetches] == [None, {"begun": True}, {"begun": True}]


async def test_the_tries_end_and_the_reason_stays(tmp_path: Path) -> None:
    async with rig(tmp_path, attempts=1) as it:
        it.source.scripts["a"] = Script(errors=[NetworkFailed("broke", hint="look at the cable")])
        task = await it.until(await it.submit())
        assert task.state is _S.FAILED
        assert task.failure is not None
        assert (task.failure.code, task.failure.stage, task.failure.message) == (
            "network",
            "fetch",
            "broke",
        )
        assert task.failure.hint == "look at the cable"


async def test_what_can_not_get_better_fails_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.source.scripts["a"] = Script(plan_errors=[SourceNotFound("gone")])
        task = await it.until(await it.submit())
        assert task.state is _S.FAILED
        assert task.failure is not None
        assert task.failure.stage == "plan"
        assert it.source.fetches == []


async def test_a_fault_of_the_program_ends_one_task_only(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.upper.run = None  # type: ignore[assignment,method-assign]
        bad = await it.submit("bad", steps=[StepSpec("upper")])
        good = await it.submit("good")
        assert (await it.until(bad)).failure.code == "internal"  # type: ignore[union-attr]
        assert (await it.until(good)).state is _S.DONE


async def test_retry_runs_the_failed_stage_only(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.upper.errors = [Corrupt("the archive is broken")]
        task = await it.until(await it.submit(steps=[StepSpec("upper")]))
        assert task.state is _S.FAILED
        await it.tasks.retry(OWNER, task.id)
        task = await it.until(task)
        assert task.state is _S.DONE
        assert len(it.source.fetches) == 1
        assert it.upper.runs == 2


async def test_cancel_leaves_nothing_and_stays(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.source.scripts["a"] = Script(gate=asyncio.Event())
        task = await it.submit()
        await it.source.started.wait()
        await it.until(task, _S.RUNNING)
        assert it.work == [task.id]
        await it.tasks.cancel(OWNER, task.id)
        assert it.work == []
        assert list(it.root.iterdir()) in ([], [it.root / ".mltb"])
    async with rig(tmp_path) as it:
        assert (await it.store.get(task.id)).state is _S.CANCELLED  # type: ignore[union-attr]
        assert it.scheduler.running == 0


@pytest.mark.parametrize("turns", range(12))
async def test_cancel_at_any_moment(tmp_path: Path, turns: int) -> None:
    """After any number of turns of the loop the task ends cancelled with nothing left, or done."""
    async with rig(tmp_path) as it:
        task = await it.submit(steps=[StepSpec("upper")])
        for _ in range(turns * 3):
            await asyncio.sleep(0)
        try:
            await it.tasks.cancel(OWNER, task.id)
        except IllegalMove:
            assert (await it.until(task)).state is _S.DONE
            return
        stored = await it.store.get(task.id)
        assert stored is not None
        assert stored.state is _S.CANCELLED
        assert it.work == []
        assert [p for p in it.root.iterdir() if p.name != ".mltb"] == []


async def test_pause_and_resume_go_on_from_the_token(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        gate = asyncio.Event()
        it.source.scripts["a"] = Script(gate=gate)
        task = await it.submit()
        await it.source.started.wait()
        await it.until(task, _S.RUNNING)
        await it.tasks.pause(OWNER, task.id)
        assert (await it.until(task, _S.PAUSED)).state is _S.PAUSED
        assert it.work == [task.id]
        gate.set()
        await it.tasks.resume(OWNER, task.id)
        assert (await it.until(task)).state is _S.DONE
        assert it.source.fetches[-1][1] == {"begun": True}


async def test_a_paused_task_can_be_cancelled(tmp_path: Path) -> None:
    async with rig(tmp_path, max_active=1) as it:
        it.source.scripts["a"] = Script(gate=asyncio.Event())
        first, second = await it.submit("a"), await it.submit("b")
        await it.tasks.pause(OWNER, second.id)
        await it.tasks.cancel(OWNER, second.id)
        assert (await it.store.get(second.id)).state is _S.CANCELLED  # type: ignore[union-attr]
        await it.tasks.cancel(OWNER, first.id)


async def test_a_stop_and_a_start_go_on_without_fetching_twice(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.upper.gate = asyncio.Event()
        task = await it.submit(steps=[StepSpec("upper")])
        await it.until(task, _S.PROCESSING)
    async with rig(tmp_path) as it:
        done = await it.until(task)
        assert done.state is _S.DONE
        assert it.source.fetches == []
        assert it.upper.runs == 1
        assert done.stages[0].attempt == 0


async def test_files_that_vanished_are_fetched_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.upper.errors = [Corrupt("broken")]
        task = await it.until(await it.submit(steps=[StepSpec("upper")]))
        for path in (it.root / ".mltb" / task.id / "0").iterdir():
            path.unlink()
        await it.tasks.retry(OWNER, task.id)
        assert (await it.until(task)).state is _S.DONE
        assert len(it.source.fetches) == 2


async def test_tasks_of_others_wait_in_a_private_service(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.source.scripts["a"] = Script(gate=asyncio.Event())
        task = await it.submit()
        await it.source.started.wait()
    async with rig(tmp_path, run_restored=False) as it:
        assert it.scheduler.running == 0
        with pytest.raises(Duplicate) as caught:
            await it.submit()
        assert caught.value.details["task"] == task.id
        await it.tasks.prioritise(OWNER, task.id, task.priority, None)
        assert (await it.until(task)).state is _S.DONE


async def test_no_more_run_than_may(tmp_path: Path) -> None:
    async with rig(tmp_path, max_active=3) as it:
        tasks = [await it.submit(f"n{number}") for number in range(20)]
        for task in tasks:
            assert (await it.until(task)).state is _S.DONE
        assert it.source.most <= 3


async def test_the_limit_of_one_user_leaves_room_for_another(tmp_path: Path) -> None:
    async with rig(tmp_path, max_active=4, max_per_user=1) as it:
        gate = asyncio.Event()
        for name in "abc":
            it.source.scripts[name] = Script(gate=gate)
        first = [await it.tasks.submit(ANNA, Submission(f"test:{name}")) for name in "ab"]
        other = await it.tasks.submit(BERT, Submission("test:c"))
        await it.until(first[0], _S.RUNNING)
        await it.until(other, _S.RUNNING)
        assert (await it.store.get(first[1].id)).state is _S.QUEUED  # type: ignore[union-attr]
        gate.set()
        for task in (*first, other):
            await it.until(task)


async def test_a_task_waits_for_its_time(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        task = await it.submit(start_at=it.clock.now() + 100)
        await asyncio.sleep(0)
        assert it.scheduler.running == 0
        it.clock.advance(101)
        assert (await it.until(task)).state is _S.DONE


async def test_the_same_link_twice_is_noticed(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.source.scripts["a"] = Script(gate=(gate := asyncio.Event()))
        task = await it.submit()
        with pytest.raises(Duplicate) as caught:
            await it.submit()
        assert caught.value.details["task"] == task.id
        again = await it.submit(again=True)
        assert again.id != task.id
        gate.set()
        await it.until(task)
        await it.until(again)
        third = await it.submit()
        assert third.note is not None
        assert "was delivered before" in third.note
        await it.until(third)


async def test_an_idempotency_key_makes_one_task(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        wanted = Submission("test:a", str(it.root))
        first = await it.tasks.submit(OWNER, wanted, key="k1")
        second = await it.tasks.submit(OWNER, wanted, key="k1")
        assert first.id == second.id
        both = await asyncio.gather(
            *(it.tasks.submit(OWNER, Submission("test:b"), key="k2") for _ in range(2))
        )
        assert both[0].id == both[1].id
        await it.until(first)


async def test_many_at_once_are_answered_one_by_one(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        answers = await it.tasks.submit_many(
            OWNER,
            [
                Submission("test:a"),
                Submission("gopher://x"),
                Submission("test:b", "/etc"),
                Submission("test:a"),
                Submission("test:c", steps=[StepSpec("melt")]),
            ],
        )
        assert [answer.task is not None for answer in answers] == [True, False, False, False, False]
        codes = [answer.error.code for answer in answers if answer.error is not None]
        assert codes == ["unsupported", "policy", "duplicate", "invalid_input"]


async def test_a_destination_outside_of_the_roots_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        for wrong in ("/etc", str(it.root / ".." / "other"), "/"):
            with pytest.raises(PolicyRefused):
                await it.tasks.submit(OWNER, Submission("test:a", wrong))


async def test_a_task_that_can_not_fit_fails_with_the_figures(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.source.scripts["a"] = Script(size=1 << 60)
        task = await it.until(await it.submit())
        assert task.failure is not None
        assert task.failure.code == "no_space"
        assert str(1 << 60) in task.failure.message


async def test_a_task_waits_for_room_and_says_so(tmp_path: Path) -> None:
    async with rig(tmp_path, reserve=1 << 60, disk_wait=30.0) as it:
        task = await it.submit()
        waiting = await it.until(task, _S.QUEUED)
        while waiting.note is None:
            waiting = (await it.tasks.wait(OWNER, task.id, 1, waiting.version)).task
        assert "waits for room" in waiting.note
        while (await it.tasks.show(OWNER, task.id)).task.state is not _S.FAILED:
            it.clock.advance(16)
            await asyncio.sleep(0.001)
        failed = await it.until(task)
        assert failed.failure is not None
        assert failed.failure.code == "no_space"


async def test_the_daily_bytes_of_a_user(tmp_path: Path) -> None:
    async with rig(tmp_path, daily_bytes=10) as it:
        assert (await it.until(await it.submit("a"))).state is _S.DONE
        second = await it.until(await it.submit("b"))
        assert second.failure is not None
        assert second.failure.code == "quota"
        it.source.scripts["c"] = Script({"x": b"123"})
        assert (await it.until(await it.submit("c"))).state is _S.DONE
        with pytest.raises(QuotaReached):
            await it.submit("d")
        it.clock.advance(86_401)
        assert (await it.until(await it.submit("b"))).state is _S.DONE


async def test_the_unfinished_tasks_of_a_user(tmp_path: Path) -> None:
    async with rig(tmp_path, max_queued=1) as it:
        it.source.scripts["a"] = Script(gate=(gate := asyncio.Event()))
        task = await it.submit("a")
        with pytest.raises(TooMany):
            await it.submit("b")
        gate.set()
        await it.until(task)
        await it.until(await it.submit("b"))


async def test_nobody_touches_tasks_of_others(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.source.scripts["a"] = Script(gate=asyncio.Event())
        task = await it.tasks.submit(ANNA, Submission("test:a"))
        for call in (it.tasks.cancel, it.tasks.pause, it.tasks.show, it.tasks.delete):
            with pytest.raises(NotFound):
                await call(BERT, task.id)
        page, _ = await it.tasks.list(BERT, TaskQuery())
        assert page.items == []
        with pytest.raises(Forbidden):
            await it.tasks.cancel(Caller("anna", Scope.VIEW), task.id)
        with pytest.raises(Forbidden):
            await it.tasks.prioritise(ANNA, task.id, None, True)
        await it.tasks.cancel(ANNA, task.id)


async def test_a_selection_is_awaited(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.source.scripts["a"] = Script({"one": b"1", "two": b"2"})
        task = await it.submit(options=TaskOptions(ask_selection=True))
        await it.until(task, _S.AWAITING_SELECTION)
        with pytest.raises(InvalidInput):
            await it.tasks.select(OWNER, task.id, [])
        await it.tasks.select(OWNER, task.id, [1])
        done = await it.until(task)
        assert done.options.select == [1]


async def test_a_cancelled_task_can_be_retried_from_the_start(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        gate = asyncio.Event()
        it.source.scripts["a"] = Script(gate=gate)
        task = await it.submit()
        await it.source.started.wait()
        await it.tasks.cancel(OWNER, task.id)
        gate.set()
        await it.tasks.retry(OWNER, task.id)
        assert (await it.until(task)).state is _S.DONE


async def test_delete_forgets_a_finished_task_but_not_its_receipt(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.source.scripts["b"] = Script(gate=asyncio.Event())
        task = await it.until(await it.submit())
        await it.tasks.delete(OWNER, task.id)
        assert await it.store.get(task.id) is None
        receipts = await it.tasks.receipts(OWNER, "test:a", 10)
        assert [receipt.task for receipt in receipts] == [task.id]
        running = await it.submit("b")
        with pytest.raises(Conflict):
            await it.tasks.delete(OWNER, running.id)


async def test_the_sweep_removes_what_nobody_needs(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.upper.errors = [Corrupt("broken")]
        failed = await it.until(await it.submit(steps=[StepSpec("upper")]))
        (it.root / ".mltb" / "unknown").mkdir()
        await it.debris.sweep()
        assert it.work == [failed.id]
        it.clock.advance(1001)
        await it.debris.sweep()
        assert it.work == []


async def test_nothing_is_taken_while_it_stops(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.scheduler.stop()
        with pytest.raises(Unavailable):
            await it.submit()


async def test_stages_tell_how_far_they_are(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.source.scripts["a"] = Script(gate=(gate := asyncio.Event()))
        task = await it.submit()
        await it.source.started.wait()
        view = await it.tasks.show(OWNER, task.id)
        assert view.progress is not None
        assert (view.progress.done, view.progress.eta) == (50, 5.0)
        gate.set()
        done = await it.until(task)
        assert {stage.state for stage in done.stages} == {StageState.DONE}


async def test_a_refused_link_does_not_show_its_password(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        with pytest.raises(Unsupported) as caught:
            await it.tasks.submit(OWNER, Submission("gopher://anna:hidden@host/x"))
        assert "hidden" not in str(caught.value)
        assert "host" in str(caught.value)
