"""Reading torrents in the worker process: magnet links, torrent files, resume files.

All of it is hostile, and is parsed here, away from the service, by libtorrent.

A resume file is one line of JSON (``boot``, the id of the boot of the machine, and ``directory``)
and libtorrent's resume data. After another boot its pieces are not believed, because what a crash
of the machine left in the files is unknown: libtorrent then checks them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import libtorrent as lt

from bot.engines.torrent_job import WorkerError
from bot.engines.torrent_names import METADATA_SUFFIX, RESUME_SUFFIX

_SKIPPED = 0
_WANTED = 4
_HIDDEN_FLAGS = int(lt.file_flags_t.flag_pad_file)
_LINK_FLAG = int(lt.file_flags_t.flag_symlink)


def inspect(message: dict[str, Any]) -> dict[str, Any]:
    """What is in the plan at ``message["path"]``: identity, name, files, trackers, web seeds."""
    parameters = _plan(Path(message["path"]))
    return {**links_of(parameters), **_contents(parameters)}


def inspect_magnet(message: dict[str, Any]) -> dict[str, Any]:
    """What a magnet link says by itself."""
    parameters = _magnet(message["magnet"])
    return {**links_of(parameters), "name": parameters.name}


def links_of(parameters: lt.add_torrent_params) -> dict[str, Any]:
    """Whom a torrent would talk to, and its info hashes in hex."""
    hashes = parameters.info_hashes
    return {
        "v1": hashes.v1.to_bytes().hex() if hashes.has_v1() else None,
        "v2": hashes.v2.to_bytes().hex() if hashes.has_v2() else None,
        "trackers": list(parameters.trackers),
        "web_seeds": list(parameters.url_seeds),
        "peers": [list(peer) for peer in parameters.peers],
    }


def load(message: dict[str, Any], boot: str) -> lt.add_torrent_params:
    """The parameters that ``add`` hands to libtorrent. Every place and address is the service's."""
    mode = message["mode"]
    if mode == "metadata":
        parameters = _magnet(message["magnet"])
    else:
        parameters = _resumed(Path(message["resume"]), boot) or _plan(Path(message["plan"]))
        parameters.renamed_files = dict(message["names"])
        wanted = set(message["wanted"])
        parameters.file_priorities = [
            _WANTED if index in wanted else _SKIPPED for index in range(len(message["names"]))
        ]
        parameters.piece_priorities = []
    parameters.save_path = message["directory"]
    parameters.part_file_dir = message["parts"]
    parameters.storage_mode = lt.storage_mode_t.storage_mode_sparse
    parameters.trackers = message["trackers"]
    parameters.tracker_tiers = list(range(len(message["trackers"])))
    parameters.url_seeds = message["web_seeds"]
    parameters.http_seeds = []
    parameters.peers = [*parameters.peers, *((host, port) for host, port in message["peers"])]
    parameters.dht_nodes = []
    rate = message["limit"] or 0
    parameters.download_limit = rate
    parameters.upload_limit = rate
    parameters.flags = _flags(mode)
    return parameters


def _flags(mode: str) -> int:
    flags = lt.torrent_flags
    chosen = flags.update_subscribe | flags.apply_ip_filter | flags.duplicate_is_error
    if mode == "metadata":
        chosen |= flags.default_dont_download
    if mode == "seed":
        chosen |= flags.upload_mode  # what is missing is a failure, not to be fetched
    return chosen


def _resumed(path: Path, boot: str) -> lt.add_torrent_params | None:
    """What the resume file at ``path`` holds; None where there is none that can be used."""
    try:
        line, _, body = path.read_bytes().partition(b"\n")
        header = json.loads(line)
        parameters = lt.read_resume_data(body)
    except (FileNotFoundError, ValueError, RuntimeError):
        return None
    if parameters.ti is None:
        return None
    if header.get("boot") != boot:
        parameters.have_pieces = []
        parameters.verified_pieces = []
        parameters.unfinished_pieces = {}
    return parameters


def _plan(path: Path) -> lt.add_torrent_params:
    data = path.read_bytes()
    try:
        if path.suffix == RESUME_SUFFIX:
            return lt.read_resume_data(data.partition(b"\n")[2])
        if path.suffix == METADATA_SUFFIX:
            return lt.read_resume_data(data)
        return lt.load_torrent_buffer(data)
    except RuntimeError as error:
        raise WorkerError("corrupt", f"that is not a torrent file: {error}") from None


def _magnet(link: str) -> lt.add_torrent_params:
    try:
        return lt.parse_magnet_uri(link)
    except RuntimeError as error:
        raise WorkerError("unsupported", f"that magnet link can't be read: {error}") from None


def _contents(parameters: lt.add_torrent_params) -> dict[str, Any]:
    info = parameters.ti
    if info is None:
        raise WorkerError("corrupt", "the torrent has no list of files")
    layout = info.layout()
    files = []
    for index in range(layout.num_files()):
        flags = int(layout.file_flags(index))
        kind = "pad" if flags & _HIDDEN_FLAGS else "link" if flags & _LINK_FLAG else "file"
        files.append([layout.file_path(index), layout.file_size(index), kind])
    return {"name": info.name(), "piece": info.piece_length(), "files": files}
