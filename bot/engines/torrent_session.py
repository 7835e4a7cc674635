"""The libtorrent session inside the worker process: torrents go in, facts come out.

Everything that libtorrent tells arrives as alerts, which are valid until the next ``pop_alerts``;
``Session.pump`` turns them into events for the service at once. Resume data is written in three
moves, because libtorrent keeps blocks in a cache of its own: take the resume data, let the cache
be flushed, then put the file in its place. So the file never claims a piece that only this process
holds, and a kill at any moment leaves one that is true.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import libtorrent as lt

from bot.engines.torrent_job import (
    FACTS,
    Torrent,
    WorkerError,
    facts_of,
    failure_of,
    write_atomically,
)
from bot.engines.torrent_load import load

Emit = Callable[[dict[str, Any]], None]
Reply = Callable[[Any], None]

_BLOCKED = 1
_CATEGORIES = lt.alert_category
_ALERTS = (
    _CATEGORIES.error
    | _CATEGORIES.status
    | _CATEGORIES.storage
    | _CATEGORIES.tracker
    | _CATEGORIES.ip_block
)
#: No more resume data than one write a second, and a twentieth of the time at most.
_SAVE_EVERY = 1.0
_SAVE_SHARE = 20.0
_MAX_BLOCKED = 1000
_EVERY_V4 = (str(IPv4Address(0)), str(IPv4Address(2**32 - 1)))
_EVERY_V6 = (str(IPv6Address(0)), str(IPv6Address(2**128 - 1)))


def settings_of(message: dict[str, Any]) -> lt.settings_pack:
    """The settings of the session; what is fixed here is what the egress policy depends on.

    No LSD, UPnP and NAT-PMP: they talk to the local network. No STUN: WebRTC peers would be
    reached past the address filter, so the trackers that hand them out are left out as well.
    """
    rate = message["limit"] or 0
    return {
        "alert_mask": _ALERTS,
        "alert_queue_size": 20_000,
        "listen_interfaces": ",".join(f"{i}:{message['port']}" for i in message["interfaces"]),
        "enable_dht": message["dht"],
        "dht_bootstrap_nodes": ",".join(message["dht_routers"]),
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "webtorrent_stun_server": "",
        # libtorrent tries uTP first, at a tenth of the speed on a fast network.
        "enable_outgoing_utp": False,
        "enable_incoming_utp": message["utp"],
        "mixed_mode_algorithm": int(lt.bandwidth_mixed_algo_t.prefer_tcp),
        # Else a stale peer hides a living one behind the same address (NAT, one machine).
        "allow_multiple_connections_per_ip": True,
        "ssrf_mitigation": True,
        "apply_ip_filter_to_trackers": True,
        "validate_https_trackers": True,
        "allow_idna": False,
        "announce_to_all_tiers": True,
        # A tracker that does not answer must not hold up the end of the service.
        "stop_tracker_timeout": 1,
        "connections_limit": message["max_connections"],
        "download_rate_limit": rate,
        "upload_rate_limit": rate,
        "max_queued_disk_bytes": 64 * 1024 * 1024,
        "aio_threads": 2,
        "hashing_threads": 1,
    }


class Session:
    """The torrents of this process. ``emit`` sends an event to the service."""

    def __init__(self, message: dict[str, Any], emit: Emit, alert_fd: int) -> None:
        self._emit = emit
        self._boot = message["boot"]
        self._dht_state = Path(message["dht_state"])
        self._filter = lt.ip_filter()
        for first, last, blocked in message["rules"]:
            self._filter.add_rule(first, last, _BLOCKED if blocked else 0)
        parameters = self._parameters(message)
        self._session = lt.session(parameters)
        self._session.set_alert_fd(alert_fd)
        self._limit_local_peers_too()
        self._torrents: dict[str, Torrent] = {}
        self._by_handle: dict[lt.torrent_handle, Torrent] = {}

    @property
    def port(self) -> int:
        """The port that peers connect to."""
        return self._session.listen_port()

    @property
    def busy(self) -> bool:
        """Whether there is any torrent."""
        return bool(self._torrents)

    def add(self, message: dict[str, Any]) -> dict[str, Any]:
        """Put a torrent to work; its state. WorkerError where that can't be, or a job has it."""
        parameters = load(message, self._boot)
        known = self._holder_of(parameters)
        if known is not None:
            raise WorkerError("refused", f"task {known} is busy with the same torrent")
        for address in message["allow"]:
            self._filter.add_rule(address, address, 0)
        if message["allow"]:
            self._session.set_ip_filter(self._filter)
        try:
            handle = self._session.add_torrent(parameters)
        except RuntimeError as error:
            raise WorkerError("unsupported", f"the torrent can't be started: {error}") from None
        torrent = Torrent(
            job=message["job"],
            handle=handle,
            header=json.dumps({"boot": self._boot, "directory": message["directory"]}).encode(),
            resume=Path(message["resume"]),
            metadata_only=message["mode"] == "metadata",
        )
        self._torrents[torrent.job] = self._by_handle[handle] = torrent
        return facts_of(torrent, handle.status(FACTS))

    def drop(self, message: dict[str, Any], reply: Reply) -> None:
        """Take a torrent out; the answer comes when nothing of it is written any more."""
        torrent = self._torrents.get(message["job"])
        if torrent is None:
            reply(None)
            return
        torrent.leaving = reply
        if not torrent.metadata_only and torrent.handle.torrent_file() is not None:
            torrent.after_save = self._remove
            torrent.handle.pause()
            self._save(torrent, always=True)
        else:
            self._remove(torrent)

    def limit(self, message: dict[str, Any]) -> None:
        """Limit one torrent, or all together; both ways, bytes a second."""
        rate, job = message["limit"] or 0, message["job"]
        if job is None:
            self._session.apply_settings({"download_rate_limit": rate, "upload_rate_limit": rate})
        elif job in self._torrents:
            self._torrents[job].handle.set_download_limit(rate)
            self._torrents[job].handle.set_upload_limit(rate)

    def report(self, message: dict[str, Any]) -> dict[str, Any]:
        """What was tried to find peers, in figures."""
        torrent = self._torrents.get(message["job"])
        if torrent is None:
            raise WorkerError("internal", f"the worker knows no job {message['job']}")
        return torrent.report()

    def tick(self) -> None:
        """Once a second while there are torrents: ask for the states, save what changed."""
        self._session.post_torrent_updates(FACTS)
        now = time.monotonic()
        for torrent in self._torrents.values():
            if torrent.modified and not torrent.metadata_only and now >= torrent.save_at:
                self._save(torrent, always=False)

    def pump(self) -> None:
        """Turn what libtorrent has to say into events."""
        for alert in self._session.pop_alerts():
            handler = _HANDLERS.get(type(alert))
            if handler is not None:
                handler(self, alert)

    def close(self) -> None:
        """Keep what the DHT knows, for a quicker start next time."""
        if self._session.is_dht_running():
            state = self._session.session_state(int(lt.save_state_flags_t.save_dht_state))
            write_atomically(self._dht_state, lt.write_session_params_buf(state))

    def _parameters(self, message: dict[str, Any]) -> lt.session_params:
        parameters = lt.session_params()
        if message["dht"] and self._dht_state.is_file():
            parameters = lt.read_session_params(self._dht_state.read_bytes())
        parameters.settings = settings_of(message)
        parameters.ip_filter = self._filter
        return parameters

    def _limit_local_peers_too(self) -> None:
        """By default libtorrent exempts local networks from the global limit."""
        everybody = lt.ip_filter()
        group = 1 << int(lt.session.global_peer_class_id)
        everybody.add_rule(*_EVERY_V4, group)
        everybody.add_rule(*_EVERY_V6, group)
        self._session.set_peer_class_filter(everybody)

    def _holder_of(self, parameters: lt.add_torrent_params) -> str | None:
        wanted = parameters.info_hashes.get_best().to_bytes()
        for job, torrent in self._torrents.items():
            if torrent.handle.info_hashes().get_best().to_bytes() == wanted:
                return job
        return None

    def _of(self, handle: lt.torrent_handle) -> Torrent | None:
        return self._by_handle.get(handle)

    # Resume data

    def _save(self, torrent: Torrent, *, always: bool) -> None:
        if torrent.saving:
            return
        torrent.saving = True
        torrent.modified = False
        torrent.save_began = time.monotonic()
        flags = lt.save_resume_flags_t.save_info_dict
        torrent.handle.save_resume_data(
            flags if always else flags | lt.save_resume_flags_t.only_if_modified
        )

    def _on_resume_data(self, alert: lt.save_resume_data_alert) -> None:
        torrent = self._of(alert.handle)
        if torrent is None:
            return
        data = lt.write_resume_data_buf(alert.params)
        if torrent.metadata_only:
            write_atomically(torrent.resume, data)
            self._saved(torrent)
            self._emit({"event": "metadata", "job": torrent.job})
            return
        torrent.pending = torrent.header + b"\n" + data
        # Twice: the first answer may be to a flush that libtorrent began by itself, earlier.
        torrent.flushes = 2
        torrent.handle.flush_cache()

    def _on_flushed(self, alert: lt.cache_flushed_alert) -> None:
        torrent = self._of(alert.handle)
        if torrent is None or torrent.pending is None:
            return
        torrent.flushes -= 1
        if torrent.flushes:
            torrent.handle.flush_cache()
            return
        write_atomically(torrent.resume, torrent.pending)
        self._saved(torrent)

    def _on_no_resume_data(self, alert: lt.save_resume_data_failed_alert) -> None:
        torrent = self._of(alert.handle)
        if torrent is not None:
            self._saved(torrent)

    def _saved(self, torrent: Torrent) -> None:
        now = time.monotonic()
        torrent.saving = False
        torrent.pending = None
        torrent.save_at = now + max(_SAVE_EVERY, _SAVE_SHARE * (now - torrent.save_began))
        if torrent.after_save is not None:
            after, torrent.after_save = torrent.after_save, None
            after(torrent)

    # Coming and going

    def _remove(self, torrent: Torrent) -> None:
        self._session.remove_torrent(torrent.handle)

    def _on_removed(self, alert: lt.torrent_removed_alert) -> None:
        torrent = self._of(alert.handle)
        if torrent is not None:
            del self._torrents[torrent.job], self._by_handle[torrent.handle]
            if torrent.leaving is not None:
                torrent.leaving(None)

    def _on_metadata(self, alert: lt.metadata_received_alert) -> None:
        torrent = self._of(alert.handle)
        if torrent is not None and torrent.metadata_only:
            self._save(torrent, always=True)

    def _on_states(self, alert: lt.state_update_alert) -> None:
        facts = {}
        for status in alert.status:
            torrent = self._of(status.handle)
            if torrent is None:
                continue
            facts[torrent.job] = facts_of(torrent, status)
            torrent.modified = torrent.modified or status.need_save_resume
        if facts:
            self._emit({"event": "states", "jobs": facts})

    def _on_finished(self, alert: lt.torrent_finished_alert) -> None:
        torrent = self._of(alert.handle)
        if torrent is not None and not torrent.metadata_only:
            self._tell(torrent)

    def _on_checked(self, alert: lt.torrent_checked_alert) -> None:
        torrent = self._of(alert.handle)
        if torrent is not None and not torrent.metadata_only:
            torrent.checked = True
            self._tell(torrent)

    def _tell(self, torrent: Torrent) -> None:
        facts = facts_of(torrent, torrent.handle.status(FACTS))
        self._emit({"event": "states", "jobs": {torrent.job: facts}})

    # What went wrong

    def _on_error(self, alert: lt.torrent_error_alert | lt.file_error_alert) -> None:
        torrent = self._of(alert.handle)
        if torrent is None:
            return
        what = "the torrent failed"
        if isinstance(alert, lt.file_error_alert):
            what = f"{Path(alert.filename()).name} can't be read or written"
        elif (name := torrent.file_in_error()) is not None:
            what = f"{name} can't be read or written"
        failed = failure_of(alert.error, what)
        self._emit(
            {"event": "failed", "job": torrent.job, "code": failed.code, "message": failed.message}
        )

    def _on_tracker_error(self, alert: lt.tracker_error_alert) -> None:
        torrent = self._of(alert.handle)
        if torrent is not None:
            torrent.answer(alert.tracker_url(), alert.failure_reason() or alert.error.message())

    def _on_tracker_reply(self, alert: lt.tracker_reply_alert) -> None:
        torrent = self._of(alert.handle)
        if torrent is not None:
            torrent.answer(alert.tracker_url(), f"{alert.num_peers} peers")

    def _on_dht_reply(self, alert: lt.dht_reply_alert) -> None:
        torrent = self._of(alert.handle)
        if torrent is not None:
            torrent.dht_peers += alert.num_peers

    def _on_web_seed_error(self, alert: lt.url_seed_alert) -> None:
        torrent = self._of(alert.handle)
        if torrent is not None:
            torrent.answer(alert.server_url(), alert.error_message() or alert.error.message())

    def _on_blocked(self, alert: lt.peer_blocked_alert) -> None:
        torrent = self._of(alert.handle)
        if torrent is not None and len(torrent.blocked) < _MAX_BLOCKED:
            torrent.blocked.add(str(alert.endpoint[0]))

    def _on_bad_piece(self, alert: lt.hash_failed_alert) -> None:
        torrent = self._of(alert.handle)
        if torrent is not None:
            torrent.bad_pieces += 1


_HANDLERS: dict[type, Callable[[Session, Any], None]] = {
    lt.save_resume_data_alert: Session._on_resume_data,
    lt.save_resume_data_failed_alert: Session._on_no_resume_data,
    lt.cache_flushed_alert: Session._on_flushed,
    lt.torrent_removed_alert: Session._on_removed,
    lt.metadata_received_alert: Session._on_metadata,
    lt.state_update_alert: Session._on_states,
    lt.torrent_finished_alert: Session._on_finished,
    lt.torrent_checked_alert: Session._on_checked,
    lt.torrent_error_alert: Session._on_error,
    lt.file_error_alert: Session._on_error,
    lt.tracker_error_alert: Session._on_tracker_error,
    lt.tracker_reply_alert: Session._on_tracker_reply,
    lt.dht_reply_alert: Session._on_dht_reply,
    lt.url_seed_alert: Session._on_web_seed_error,
    lt.peer_blocked_alert: Session._on_blocked,
    lt.hash_failed_alert: Session._on_bad_piece,
}
