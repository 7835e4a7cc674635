"""Torrents, a seed in a child process and a tracker, all on loopback.

    with Swarm(directory) as swarm:
        swarm.torrent.data          # the .torrent file, which names the tracker
        swarm.magnet                # the same as a magnet link
        swarm.seed.stats().uploaded

`make_torrent(directory)` alone makes a torrent without peers.
"""

import base64
import contextlib
import json
import sys
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from typing import Literal as OneOf

import libtorrent as lt

from tests.servers.http import HttpServer
from tests.servers.message import Request, Response, text
from tests.servers.program import Program
from tests.servers.routes import Literal, Resource

Version = OneOf["v1", "v2", "hybrid"]
Value = int | bytes | list["Value"] | dict[bytes, "Value"]

PIECE = 64 * 1024


@dataclass(frozen=True)
class Torrent:
    """A .torrent file and what is in it. `info_hash` is of version 1, and empty without one."""

    data: bytes
    name: str
    info_hash: str
    info_hash_v2: str
    piece_length: int
    pieces: int
    size: int
    files: dict[str, int]
    trackers: tuple[str, ...] = ()

    def magnet(self, *peers: str, trackers: bool = True) -> str:
        """A magnet link; `peers` are `host:port` that the client is to try (`x.pe`)."""
        # libtorrent takes no escaped colon in `x.pe`.
        topics = [f"xt=urn:btih:{self.info_hash}"] * bool(self.info_hash)
        topics += [f"xt=urn:btmh:1220{self.info_hash_v2}"] * bool(self.info_hash_v2)
        rest = [("dn", self.name), *(("x.pe", peer) for peer in peers)]
        rest += [("tr", url) for url in self.trackers if trackers]
        return "magnet:?" + "&".join([*topics, urllib.parse.urlencode(rest, safe=":")])

    @property
    def hashes(self) -> list[bytes]:
        """What a client announces: 20 bytes for each version (version 2 is cut short)."""
        both = (self.info_hash, self.info_hash_v2)
        return [bytes.fromhex(item)[:20] for item in both if item]


def make_torrent(
    path: Path,
    *,
    trackers: tuple[str, ...] = (),
    web_seeds: tuple[str, ...] = (),
    version: Version = "v1",
    piece_length: int = PIECE,
    private: bool = False,
) -> Torrent:
    """The torrent of a file or of a directory with its files."""
    only = {"v1": lt.create_torrent.v1_only, "v2": lt.create_torrent.v2_only, "hybrid": 0}
    made = lt.create_torrent(lt.list_files(str(path)), piece_length, int(only[version]))
    for tier, url in enumerate(trackers):
        made.add_tracker(url, tier)
    for url in web_seeds:
        made.add_url_seed(url)
    made.set_priv(private)
    lt.set_piece_hashes(made, str(path.parent))
    return read_torrent(lt.bencode(made.generate()))


def read_torrent(data: bytes) -> Torrent:
    """What a .torrent file says."""
    parameters = lt.load_torrent_buffer(data)
    info = parameters.ti
    assert info is not None
    hashes, layout = info.info_hashes(), info.layout()
    known = range(layout.num_files())
    padding = lt.file_flags_t.flag_pad_file
    return Torrent(
        data=data,
        name=info.name(),
        info_hash=str(hashes.v1) if hashes.has_v1() else "",
        info_hash_v2=str(hashes.v2) if hashes.has_v2() else "",
        piece_length=info.piece_length(),
        pieces=info.num_pieces(),
        size=sum(layout.file_size(n) for n in known if not layout.file_flags(n) & padding),
        files={
            layout.file_path(n): layout.file_size(n)
            for n in known
            if not layout.file_flags(n) & padding
        },
        trackers=tuple(parameters.trackers),
    )


@dataclass(frozen=True)
class Stats:
    """What a seed did so far. Bytes of payload, connected peers, and the addresses ever seen."""

    uploaded: int
    peers: int
    seen: tuple[str, ...]


class TorrentSeed:
    """A whole copy of the torrent's files, offered to peers on loopback from a child process.

    `root` is the directory that holds the torrent's file or directory; `limit` is bytes per second
    (0: none).
    """

    def __init__(self, torrent: Torrent, root: Path, *, limit: int = 0) -> None:
        self.torrent = torrent
        self._root = root
        self._limit = limit
        self._program: Program | None = None
        self.port = 0

    @property
    def peer(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def magnet(self) -> str:
        """A link that names the seed itself, so that no tracker is needed."""
        return self.torrent.magnet(self.peer)

    def __enter__(self) -> Self:
        script = str(Path(__file__).with_name("torrent_seed.py"))
        self._program = Program([sys.executable, script], interactive=True)
        order = {
            "torrent": base64.b64encode(self.torrent.data).decode(),
            "root": str(self._root),
            "limit": self._limit,
        }
        self._program.tell(json.dumps(order))
        self.port = int(self._program.expect(r"^seeding on (\d+)$", 30)[1])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._program is not None:
            self._program.stop()

    def stats(self) -> Stats:
        answer = self._ask("stats")
        return Stats(answer["uploaded"], answer["peers"], tuple(answer["seen"]))

    def wait_uploaded(self, count: int, timeout: float = 30.0) -> Stats:
        """Ask until so many bytes went out: a peer has them before the seed counts them."""
        deadline = time.monotonic() + timeout
        while (stats := self.stats()).uploaded < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{stats.uploaded} of {count} bytes within {timeout} s")
        return stats

    def set_limit(self, limit: int) -> None:
        """Change the speed, in bytes per second; 0 takes the limit off."""
        self._ask(f"limit {limit}")

    def drop_peers(self) -> None:
        """Disconnect everyone and take nobody, until `accept_peers`."""
        self._ask("pause")

    def accept_peers(self) -> None:
        self._ask("resume")

    def _ask(self, command: str) -> Any:
        assert self._program is not None
        self._program.tell(command)
        return json.loads(self._program.expect(r"^answer (.*)$")[1])


class Tracker:
    """A route that tracks: mount it at `/announce`, the only path that guarded clients ask.

    It gives each client the peers registered for the torrent and those that announced themselves.
    """

    def __init__(self, failure: str = "", interval: int = 2) -> None:
        self.failure = failure
        self.interval = interval
        self.peers: dict[bytes, set[tuple[str, int]]] = {}
        #: `(event, port, downloaded, left)` of each announcement.
        self.announced: list[tuple[str, int, int, int]] = []

    def register(self, torrent: Torrent, port: int, host: str = "127.0.0.1") -> None:
        for key in torrent.hashes:
            self.peers.setdefault(key, set()).add((host, port))

    def __call__(self, request: Request) -> Response:
        query = urllib.parse.urlsplit(request.target).query
        raw = dict(pair.partition("=")[::2] for pair in query.split("&"))
        key = urllib.parse.unquote_to_bytes(raw.get("info_hash", ""))
        port, event = int(raw.get("port", "0")), raw.get("event", "")
        numbers = int(raw.get("downloaded", "0")), int(raw.get("left", "0"))
        self.announced.append((event, port, *numbers))
        if self.failure:
            return text(200, bencode({b"failure reason": self.failure.encode()}))
        known = self.peers.setdefault(key, set())
        others = [peer for peer in sorted(known) if peer[1] != port]
        if event == "stopped":
            known.discard((request.peer, port))
        else:
            known.add((request.peer, port))
        packed = b"".join(_compact(*peer) for peer in others)
        return text(200, bencode({b"interval": self.interval, b"peers": packed}))


def _compact(host: str, port: int) -> bytes:
    return bytes(int(part) for part in host.split(".")) + port.to_bytes(2, "big")


def bencode(value: Value) -> bytes:
    """Bencoding, as trackers answer in."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    pairs = (bencode(key) + bencode(item) for key, item in sorted(value.items()))
    return b"d" + b"".join(pairs) + b"e"


class Swarm:
    """A torrent of a file or a directory, a tracker and one seed: what most tests need."""

    def __init__(self, path: Path, *, version: Version = "v1", limit: int = 0) -> None:
        self._path = path
        self._version: Version = version
        self._limit = limit
        self.http = HttpServer()
        self.tracker = Tracker()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.http)
            url = self.http.add("/announce", self.tracker)
            self.torrent = make_torrent(self._path, trackers=(url,), version=self._version)
            self.torrent_url = self.http.add("/test.torrent", _file(self.torrent))
            seed = TorrentSeed(self.torrent, self._path.parent, limit=self._limit)
            self.seed = stack.enter_context(seed)
            self.tracker.register(self.torrent, self.seed.port)
            self._stack = stack.pop_all()
        return self

    @property
    def magnet(self) -> str:
        """A link that names the tracker."""
        return self.torrent.magnet()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def _file(torrent: Torrent) -> Resource:
    return Resource(Literal(torrent.data), "application/x-bittorrent")
