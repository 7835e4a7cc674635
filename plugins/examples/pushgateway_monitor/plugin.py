"""The readings to a Prometheus Pushgateway, such as ``http://pushgateway.example:9091``."""

import base64
import logging
import math
import re
import time
from urllib.parse import quote

from bot.core.plugin_manager import MonitorPlugin

log = logging.getLogger(__name__)  # its lines are in ``mltb plugins logs``

NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class PushgatewayMonitor(MonitorPlugin):
    """Readings to a Prometheus Pushgateway"""

    pushed = failed = 0
    last_push = 0.0

    async def execute(self, metrics):
        config = self.get_config()
        body = exposition(metrics)
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        if config["username"]:
            pair = f"{config['username']}:{config['password']}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        url = group_url(config["gateway"], config["job"], config["instance"])
        # PUT replaces the whole group: what is not known any more is not there any more.
        answer = await self.http.put(url, body=body, headers=headers, timeout=10)
        if answer.status >= 300:
            self.failed += 1
            log.warning("the gateway answered %d: %s", answer.status, answer.text[:200])
        else:
            self.pushed += 1
            self.last_push = time.time()
        return {"pushed": self.pushed, "failed": self.failed, "last_push": self.last_push}


def exposition(metrics):
    """The text format: https://prometheus.io/docs/instrumenting/exposition_formats/"""
    lines = []
    for name, value in sorted(metrics.items()):
        if not NAME.fullmatch(name) or not math.isfinite(value):
            continue
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# TYPE mltb_{name} {kind}", f"mltb_{name} {value!r}"]
    return ("\n".join(lines) + "\n").encode()


def group_url(gateway, job, instance):
    """``/metrics/job/JOB[/instance/INSTANCE]``; a value with a slash goes as base64."""
    groups = [("job", job), *([("instance", instance)] if instance else [])]
    return gateway.rstrip("/") + "/metrics" + "".join(group(*pair) for pair in groups)


def group(name, value):
    if "/" in value:
        return f"/{name}@base64/{base64.urlsafe_b64encode(value.encode()).decode().rstrip('=')}"
    return f"/{name}/{quote(value, safe='')}"
