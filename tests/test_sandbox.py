"""What a plugin can't do, in every tier that this machine has: each case runs inside, for real."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bot.errors import PluginFailed
from bot.plugins.tiers import Tier
from tests import ordinary
from tests.hostile import CODE, DENIED, ENDS, REFUSED, SECRET, den, missing, run


@pytest.fixture(params=[tier for tier in Tier if tier is not Tier.NONE])
def tier(request: pytest.FixtureRequest) -> Tier:
    found: Tier = request.param
    if reason := missing(found):
        pytest.skip(reason)
    return found


async def test_what_a_plugin_tries_is_refused_and_it_goes_on(tmp_path: Path, tier: Tier) -> None:
    async with den(tmp_path, tier) as it:
        worker = await it.worker()
        allowed = []
        for name, code in REFUSED.items():
            try:
                result = await run(
                    worker, "import os\n" + code.replace("{pid}", str(os.getpid())), str(it.secret)
                )
            except PluginFailed:
                if worker.alive:
                    continue
                result = "it ended"
            allowed.append((name, result))
        if not tier.landlock:  # It sees what was put there for it, and may look at that.
            (listed,) = allowed
            assert listed[0] == "list a directory"
            assert "secret.txt" not in listed[1]
            allowed.clear()
        assert allowed == []
        assert worker.alive
        assert it.secret.read_text() == SECRET
        assert sorted(path.name for path in tmp_path.iterdir()) == ["code", "secret.txt", "state"]
        assert (it.code / "hostile.py").read_text() == CODE
        links = [path for path in it.state.rglob("*") if path.is_symlink() or not path.is_dir()]
        assert all(path.is_file() and path.stat().st_nlink == 1 for path in links)
        assert await run(worker, "result = 'still here'") == "still here"
        await worker.stop()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
async def test_system_calls_that_nobody_needs_fail(tmp_path: Path, tier: Tier) -> None:
    async with den(tmp_path, tier) as it:
        worker = await it.worker()
        refused = [[-1, errno.EPERM], [-1, errno.ENOSYS]]
        head = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nresult = [libc."
        tail = ", ctypes.get_errno()]"
        done = {
            name: await run(worker, head + code.replace("{pid}", str(os.getpid())) + tail)
            for name, code in DENIED.items()
        }
        assert {name: value for name, value in done.items() if value not in refused} == {}
        assert worker.alive
        await worker.stop()


async def test_what_is_outside_can_be_looked_at_in_one_tier_alone(
    tmp_path: Path, tier: Tier
) -> None:
    """Landlock keeps what a file holds, not that it exists: a gap that the documents name."""
    async with den(tmp_path, tier) as it:
        worker = await it.worker()
        code = "import os\nresult = os.path.exists(value)"
        assert await run(worker, code, str(it.secret)) is (tier is Tier.LANDLOCK)
        await worker.stop()


async def test_one_plugin_does_not_see_the_files_of_another(tmp_path: Path, tier: Tier) -> None:
    if not tier.landlock:
        pytest.skip("there each plugin has a zygote of its own, which sees its directory alone")
    async with den(tmp_path, tier) as it:
        other = it.state / "other"
        other.mkdir()
        (other / "value.txt").write_text(SECRET)
        worker = await it.worker()
        with pytest.raises(PluginFailed):
            await run(worker, "result = open(value).read()", str(other / "value.txt"))
        await worker.stop()


async def test_its_own_directory_is_its_own(tmp_path: Path, tier: Tier) -> None:
    async with den(tmp_path, tier) as it:
        worker = await it.worker()
        code = (
            "import os, json, tempfile, threading, sqlite3\n"
            "os.mkdir('d'); open('d/f', 'w').write('x'); os.rename('d/f', 'd/g')\n"
            "db = sqlite3.connect('d/x.db'); db.execute('create table t (a)'); db.close()\n"
            "t = threading.Thread(target=lambda: None); t.start(); t.join()\n"
            "result = [sorted(os.listdir('d')), os.getcwd() != '/']"
        )
        assert await run(worker, code) == [["g", "x.db"], True]
        await worker.stop()


#: Finds the connection to the host among its own objects; the host's side has to stand that.
_CHANNEL = (
    "import gc\nfrom bot.plugins.channel import Channel\n"
    "(found,) = [each for each in gc.get_objects() if isinstance(each, Channel)]\n"
    "result = found._socket.fileno()"
)


async def test_what_ends_a_worker_ends_nothing_else(tmp_path: Path, tier: Tier) -> None:
    async with den(tmp_path, tier) as it:
        other = await it.worker()
        for name, (code, why) in ENDS.items():
            victim = await it.worker()
            channel = await run(victim, _CHANNEL)
            with pytest.raises(PluginFailed, match=why):
                await run(victim, code, channel, timeout=0.5 if why == "did not answer" else 30)
            assert not victim.alive, name
            assert await run(other, "result = 'well'") == "well"
            await victim.stop()
            assert victim.pid is None
        await other.stop()
        assert len(it.ended) == len(ENDS) + 1


async def test_what_was_handed_over_can_not_be_opened_for_more(tmp_path: Path, tier: Tier) -> None:
    async with den(tmp_path, tier) as it:
        worker = await it.worker()
        with it.secret.open("rb") as file:
            if tier.landlock:
                found = await worker.call("reopen", timeout=30, fds=[file.fileno()])
                assert found == ["refused", "PermissionError"]
                assert await worker.call("read", timeout=30, fds=[file.fileno()]) == SECRET
            else:  # It has /proc there, and no wall around its files but what it sees of them.
                with pytest.raises(PluginFailed, match="pipes alone"):
                    await worker.call("reopen", timeout=30, fds=[file.fileno()])
        ours, theirs = os.pipe()
        os.write(theirs, b"through a pipe")
        assert (await worker.call("read", timeout=30, fds=[ours])) == "through a pipe"
        os.close(ours)
        os.close(theirs)
        assert it.secret.read_text() == SECRET
        await worker.stop()


async def test_what_it_was_handed_for_asking_is_no_more(tmp_path: Path, tier: Tier) -> None:
    """The files of a step come so."""
    async with den(tmp_path, tier) as it:
        worker = await it.worker()
        if tier.landlock:
            found = await worker.call("reopen_what_it_asked_for", timeout=30)
            assert found == ["refused", "PermissionError"]
        else:
            with pytest.raises(PluginFailed, match="pipes alone"):
                await worker.call("reopen_what_it_asked_for", timeout=30)
        assert it.secret.read_text() == SECRET
        await worker.stop()


async def test_an_answer_of_a_gigabyte_comes_to_nothing(tmp_path: Path, tier: Tier) -> None:
    """It is small until it is encoded; where memory ends then, the worker may end with it."""
    async with den(tmp_path, tier) as it:
        worker, other = await it.worker(), await it.worker()
        with pytest.raises(PluginFailed):
            await run(worker, "text = 'x' * (1 << 20); result = [text] * 1024")
        assert await run(other, "result = 'well'") == "well"
        await worker.stop()
        await other.stop()


async def test_a_flood_of_words_drowns_nobody(tmp_path: Path, tier: Tier) -> None:
    async with den(tmp_path, tier) as it:
        worker = await it.worker()
        code = "import os\nfor _ in range(200): os.write(2, b'y' * 65536)\nresult = 'flooded'"
        assert await run(worker, code) == "flooded"
        await worker.stop()
        assert sum(map(len, it.lines)) <= 4000


async def test_a_thread_bomb_stays_inside(tmp_path: Path, tier: Tier) -> None:
    async with den(tmp_path, tier) as it:
        worker = await it.worker()
        code = (
            "import threading, time\nresult = 0\ntry:\n"
            "    for result in range(100000):\n"
            "        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
            "except (RuntimeError, MemoryError): pass"
        )
        started = await run(worker, code)
        assert 0 < started < 2000
        await worker.stop()


def test_an_ordinary_user_is_as_safe_as_root(tmp_path: Path) -> None:
    """Every case above once more, as a user that has no right of its own."""
    if os.getuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    repository = Path(__file__).parents[1]
    reached = [sys.base_prefix, sys.prefix, str(repository)]
    with tempfile.TemporaryDirectory(prefix="mltb-", dir="/tmp") as place:
        os.chown(place, ordinary.USER, ordinary.USER)
        tests = ["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "--basetemp", f"{place}/t"]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.ordinary", *reached, "--"),
                *(sys.executable, "-B", *tests, __file__, "-k", "not ordinary"),
            ],
            cwd=repository,
            env={"PATH": os.environ["PATH"], "HOME": place, "TMPDIR": place},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    if done.returncode == ordinary.CAN_NOT:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
