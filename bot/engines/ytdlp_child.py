"""The process in which yt-dlp runs: one request, then reports, then one answer, over its pipes.

Started by the engine; see ``ytdlp_guard`` for what holds it. Messages are those of ``wire``: first
the request, later ``{"limit": bytes a second}``; the end of its standard input ends it.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, NoReturn

from bot.engines.egress import EgressPolicy
from bot.engines.wire import Splitter, pack
from bot.engines.ytdlp_errors import describe
from bot.engines.ytdlp_guard import Guard

#: Optional parts of yt-dlp that connect without Python's sockets, where no hook sees them.
_UNSEEN = ("curl_cffi",)


def main() -> None:
    """Serve the one request."""
    output = os.dup(1)
    os.dup2(2, 1)
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        data = memoryview(pack(message))
        with lock:
            while data:
                data = data[os.write(output, data) :]

    splitter = Splitter()
    request = _first(splitter)
    try:
        send(_serve(request, splitter, send))
    except BrokenPipeError:
        os._exit(1)
    os._exit(0)


def _serve(request: dict[str, Any], splitter: Splitter, send: Any) -> dict[str, Any]:
    guard = Guard(
        EgressPolicy(request["allow"]), request.get("directory"), request.get("programs") or ()
    )
    _import_ytdlp()
    from bot.engines import ytdlp_run as run
    from bot.engines.ytdlp_progress import Pace

    pace = Pace(request.get("limit"), lambda: send({"pulse": "waiting"}))
    threading.Thread(target=_listen, args=(splitter, pace), daemon=True).start()
    guard.install()
    try:
        with run.build(request, guard, send, pace) as ydl:
            work = run.plan if request["action"] == "plan" else run.fetch
            return {"answer": work(ydl, request)}
    except run.Stop as stop:
        return {"failure": stop.failure}
    except Exception as error:  # noqa: BLE001 - whatever a page made of yt-dlp is one answer
        return {"failure": describe(error, guard.addresses, guard.actions)}


def _import_ytdlp() -> None:
    """Before the guard, and without its plugins: those are code of who knows whom."""
    for name in _UNSEEN:
        sys.modules[name] = None  # type: ignore[assignment]
    import yt_dlp.downloader.external
    import yt_dlp.downloader.fragment
    import yt_dlp.globals
    import yt_dlp.networking
    import yt_dlp.postprocessor
    import yt_dlp.YoutubeDL

    yt_dlp.globals.plugin_dirs.value = []
    yt_dlp.globals.all_plugins_loaded.value = True
    sys.dont_write_bytecode = True


def _first(splitter: Splitter) -> dict[str, Any]:
    while data := os.read(0, 1 << 16):
        messages = list(splitter.feed(data))
        if messages:
            request: dict[str, Any] = messages[0]
            for later in messages[1:]:
                request["limit"] = later.get("limit")
            return request
    sys.exit("no request came")


def _listen(splitter: Splitter, pace: Any) -> NoReturn:
    """Take new limits, until the service goes or wants this process to go."""
    while data := os.read(0, 1 << 16):
        for message in splitter.feed(data):
            pace.set(message.get("limit"))
    os._exit(1)


if __name__ == "__main__":
    main()
