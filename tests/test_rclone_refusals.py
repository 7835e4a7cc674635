"""What the rclone engine refuses, and how it says that something failed."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.domain.task import TaskOptions
from bot.engines.rclone import RcloneEngine
from bot.engines.rclone_errors import transfer_error
from bot.errors import (
    Corrupt,
    InvalidInput,
    NetworkFailed,
    NoSpace,
    PolicyRefused,
    Refused,
    SourceNotFound,
    TransferError,
    Unauthorised,
    Unsupported,
)
from tests.remotes import (
    KINDS,
    MIB,
    SECRET,
    World,
    engine_of,
    folder_on,
    make_world,
)
from tests.servers.content import content, sha256_of
from tests.servers.rclone import Serve, write_config


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture(params=KINDS)
def remote(request: pytest.FixtureRequest, world: World) -> Iterator[str]:
    with folder_on(request.param, world) as folder:
        yield folder


@pytest.fixture
async def engine(world: World) -> AsyncIterator[RcloneEngine]:
    async with engine_of(world) as made:
        yield made


# What is refused, and how it is said


@pytest.mark.parametrize(
    ("source", "score"),
    [
        ("backup:videos/a.mkv", True),
        ("backup:", True),
        ("my remote:a b", True),
        (":s3:bucket/key", True),
        ("s3,access_key_id=x:bucket", True),
        ("http://host/file", False),
        ("https://host:80/a:b", False),
        ("magnet:?xt=urn:btih:00", False),
        ("sftp://host/file", False),
        ("sftp:dir/file", True),
        ("file:/etc/passwd", False),
        ("/srv/files", False),
        ("./a:b", False),
        ("plain", False),
        (":", False),
        ("", False),
    ],
)
async def test_what_it_accepts(engine: RcloneEngine, source: str, score: bool) -> None:
    assert (engine.accepts(source) > 0) is score
    assert engine.delivers_to(source) is score


@pytest.mark.parametrize(
    "source",
    [
        ":s3:bucket/key",
        ":http,url='http://169.254.169.254':latest",
        ":local:/etc/passwd",
        "disk,remote=/etc:passwd",
        "disk:../../etc/passwd",
        "disk:a/../../b",
        "disk:a\nb",
        "disk:a\x00b",
    ],
)
async def test_refused_shapes_say_why_and_start_nothing(
    world: World, engine: RcloneEngine, source: str
) -> None:
    entry = world.make("a", 10)
    with pytest.raises(PolicyRefused):
        await engine.plan(source, TaskOptions())
    with pytest.raises(PolicyRefused):
        await engine.fetch(world.fetch_job(source))
    with pytest.raises(PolicyRefused):
        await engine.deliver(world.deliver_job([entry], source))
    with pytest.raises(PolicyRefused):
        await engine.transfer(world.fetch_job("disk:a"), world.deliver_job([], source))
    assert engine.pid is None


async def test_an_unknown_remote_names_those_there_are(world: World, engine: RcloneEngine) -> None:
    with pytest.raises(InvalidInput, match="no remote 'nope'") as caught:
        await engine.plan("nope:a", TaskOptions())
    assert "disk, vault" in str(caught.value)
    assert await engine.list_remotes() == ["disk", "vault"]


async def test_nothing_there(world: World, engine: RcloneEngine, remote: str) -> None:
    with pytest.raises(SourceNotFound, match="nothing at"):
        await engine.plan(f"{remote}/missing", TaskOptions())
    with pytest.raises(SourceNotFound):
        await engine.fetch(world.fetch_job(f"{remote}/missing/file.bin"))


async def test_wrong_credentials_are_unauthorised_and_stay_secret(
    world: World, engine: RcloneEngine
) -> None:
    with Serve("s3", world.store) as server:
        section = server.section() | {"secret_access_key": "wrong-and-very-secret"}
        write_config(world.config, {"net": section})
        with pytest.raises(Unauthorised) as caught:
            await engine.plan("net:box/a", TaskOptions())
    assert "wrong-and-very-secret" not in str(caught.value)
    assert not caught.value.retryable


async def test_a_remote_that_is_down_is_tried_again(world: World) -> None:
    with Serve("webdav", world.store) as server:
        section = server.section()
    write_config(world.config, {"net": section})
    async with engine_of(world) as engine:
        with pytest.raises(NetworkFailed, match="refused") as caught:
            await engine.plan("net:a", TaskOptions())
    assert caught.value.retryable
    assert SECRET not in str(caught.value)


async def test_a_bucket_must_be_named(world: World, engine: RcloneEngine) -> None:
    entry = world.make("a", 10)
    with Serve("s3", world.store) as server:
        server.write_config(world.config, "net")
        with pytest.raises(InvalidInput, match="names no bucket"):
            await engine.deliver(world.deliver_job([entry], "net:"))


async def test_a_missing_program_says_how_to_get_it(world: World) -> None:
    async with engine_of(world, binary=world.path / "nowhere") as engine:
        with pytest.raises(Unsupported, match="no program"):
            await engine.list_remotes()


async def test_a_broken_configuration_is_quoted(world: World) -> None:
    world.config.write_text("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nxxxx\n")
    async with engine_of(world) as engine:
        with pytest.raises(TransferError) as caught:
            await engine.list_remotes()
        assert "config" in str(caught.value).lower()


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"config": "/etc/rclone.conf"},
        {"transfers": 1000},
        {"transfers": True},
        {"s3_chunk_size": "1K"},
        {"metadata": "yes"},
        {"include": [1]},
        {"backup_dir": "disk:x"},
        {"bwlimit": "1M"},
    ],
)
async def test_options_outside_of_the_list(
    world: World, engine: RcloneEngine, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        await engine.plan("disk:a", TaskOptions(engine_options=options))
    assert engine.pid is None


async def test_options_of_another_kind_of_remote(world: World, engine: RcloneEngine) -> None:
    job = world.deliver_job([world.make("a", 10)], "disk:", engine_options={"s3_chunk_size": "64M"})
    with pytest.raises(InvalidInput, match="of kind alias"):
        await engine.deliver(job)


async def test_options_reach_rclone(world: World, engine: RcloneEngine) -> None:
    world.store.joinpath("box").mkdir()
    options = {"s3_chunk_size": "5M", "s3_upload_cutoff": "5M", "transfers": 2, "quality": "best"}
    entry = world.make("big.bin", 11 * MIB)
    with Serve("s3", world.store) as server:
        server.write_config(world.config, "net")
        job = world.deliver_job([entry], "net:box", engine_options=options)
        delivered = await engine.deliver(job)
        assert await engine.verify(job, delivered) == "remote-hash"
    assert world.read("box/big.bin") == content("x", entry.size)


async def test_filters_and_selection(world: World, engine: RcloneEngine) -> None:
    for name in ("a.mkv", "b.txt", "c.mkv", "d/e.mkv"):
        world.put(f"box/{name}", 100, name)
    wanted = {"exclude": ["*.txt"]}
    plan = await engine.plan("disk:box", TaskOptions(engine_options=wanted))
    assert [f.path for f in plan.files] == ["a.mkv", "c.mkv", "d/e.mkv"]
    job = world.fetch_job("disk:box", engine_options=wanted, select=[0, 2])
    fetched = await engine.fetch(job)
    assert [(f.path, f.sha256) for f in fetched.files] == [
        ("a.mkv", sha256_of("a.mkv", 100)),
        ("d/e.mkv", sha256_of("d/e.mkv", 100)),
    ]
    assert fetched.name == "box"
    with pytest.raises(InvalidInput, match="does not fit"):
        await engine.fetch(world.fetch_job("disk:box", select=[9]))


async def test_a_given_name_and_checksum(world: World, engine: RcloneEngine) -> None:
    entry = world.put("box/a.bin", 5000)
    good = world.fetch_job("disk:box/a.bin", name="../b.bin", checksum=f"sha256:{entry.sha256}")
    assert [f.path for f in (await engine.fetch(good)).files] == [".._b.bin"]
    bad = world.fetch_job("disk:box/a.bin", checksum="md5:" + "0" * 32)
    with pytest.raises(Corrupt, match="md5"):
        await engine.fetch(bad)


# The words of rclone


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("directory not found", SourceNotFound),
        ("error in ListJSON: object not found", SourceNotFound),
        ("api error NoSuchBucket: The specified bucket does not exist", SourceNotFound),
        ("https response error StatusCode: 403, api error Forbidden: Forbidden", Unauthorised),
        ("AccessDenied: Access Denied", Unauthorised),
        ("couldn't fetch token: invalid_grant: maybe token expired?", Unauthorised),
        ("ssh: handshake failed: ssh: unable to authenticate", Unauthorised),
        ("write /x/y: no space left on device", NoSpace),
        ("googleapi: Error 403: The user's Drive storage quota has been exceeded", NoSpace),
        ("dial tcp 192.0.2.1:403: connect: connection refused", NetworkFailed),
        ("unexpected EOF", NetworkFailed),
        ("Error 429: Too Many Requests", Refused),
        ("api error SlowDown: Please reduce your request rate", Refused),
        ("corrupted on transfer: md5 hashes differ src a vs dst b", Corrupt),
        ("hash unsupported: hash type not supported", Unsupported),
        ("words that nobody foresaw", Refused),
    ],
)
def test_words_of_rclone_become_typed_errors(text: str, kind: type[TransferError]) -> None:
    assert type(transfer_error(text, what="copying")) is kind


@pytest.mark.parametrize(
    "text",
    [
        "Get https://me:hunter22@host/x: EOF",
        "Put https://host/k?X-Amz-Signature=hunter22&a=b: EOF",
        "refused: token=hunter22hunter22",
        "Authorization: Bearer hunter22hunter22",
        "the key hunter22-known is wrong",
    ],
)
def test_credentials_stay_out_of_errors(text: str) -> None:
    error = transfer_error(text, what="copying", secrets={"hunter22-known"})
    assert "hunter22" not in str(error)
