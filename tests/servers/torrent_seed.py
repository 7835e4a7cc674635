"""The child process of `TorrentSeed`: seeds one torrent and answers on its standard output.

The first line of its input says what to seed, each later one is a command; it ends with its input.
"""

import base64
import json
import sys
from typing import Any

import libtorrent as lt

_SETTINGS: Any = {
    "listen_interfaces": "127.0.0.1:0",
    # Transfers over uTP stall on loopback.
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    # All of loopback is one address.
    "allow_multiple_connections_per_ip": True,
    "ssrf_mitigation": False,
    # A test that fails and connects again must not wait for its turn.
    "peer_turnover": 0,
    "unchoke_slots_limit": -1,
    "alert_mask": lt.alert_category.status
    | lt.alert_category.error
    | lt.alert_category.connect
    | lt.alert_category.peer,
}


class Seed:
    """One torrent in one session."""

    def __init__(self, data: bytes, root: str, limit: int) -> None:
        self.session = lt.session(_SETTINGS)
        parameters = lt.load_torrent_buffer(data)
        parameters.save_path = root
        # Whoever registers us with a tracker decides who finds us.
        parameters.trackers = []
        parameters.upload_limit = limit or -1
        parameters.flags = lt.torrent_flags.seed_mode | lt.torrent_flags.upload_mode
        self.handle = self.session.add_torrent(parameters)
        self.seen: set[str] = set()

    def answer(self, command: str) -> dict[str, Any]:
        verb, _, argument = command.partition(" ")
        if verb == "limit":
            self.handle.set_upload_limit(int(argument) or -1)
        elif verb == "pause":
            self.handle.pause()
        elif verb == "resume":
            self.handle.resume()
        self._look()
        status = self.handle.status()
        return {
            "uploaded": status.total_payload_upload,
            "peers": status.num_peers,
            "seen": sorted(self.seen),
        }

    def _look(self) -> None:
        for alert in self.session.pop_alerts():
            if isinstance(alert, lt.peer_connect_alert | lt.peer_disconnected_alert):
                self.seen.add(f"{alert.endpoint[0]}:{alert.endpoint[1]}")

    def port(self) -> int:
        """The port, once the session listens on it."""
        while self.session.wait_for_alert(20_000) is not None:
            for alert in self.session.pop_alerts():
                if isinstance(alert, lt.listen_succeeded_alert):
                    return alert.port
                if isinstance(alert, lt.listen_failed_alert | lt.torrent_error_alert):
                    raise SystemExit(alert.message())
        raise SystemExit("the session does not listen")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    order = json.loads(sys.stdin.readline())
    seed = Seed(base64.b64decode(order["torrent"]), order["root"], order["limit"])
    _say(f"seeding on {seed.port()}")
    for line in sys.stdin:
        _say(f"answer {json.dumps(seed.answer(line.strip()))}")


if __name__ == "__main__":
    main()
