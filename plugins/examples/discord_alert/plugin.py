"""Alerts to a channel of Discord or Slack, by a webhook."""

import asyncio

from bot.core.plugin_manager import AlertPlugin

# Discord: https://discord.com/developers/docs/resources/message#embed-object-embed-limits
# An embed may have 6,000 characters in all.
TITLE, TEXT, FIELDS, FIELD = 256, 2000, 8, 200
# Slack: https://docs.slack.dev/reference/block-kit/blocks/section-block
SLACK_TEXT, SLACK_HEADER = 3000, 150
COLOURS = {"critical": 0xB71C1C, "high": 0xE65100, "medium": 0xF9A825, "low": 0x1565C0}
OVER = 0x2E7D32
TRIES, LONGEST_WAIT = 3, 30.0  # seconds


class DiscordAlert(AlertPlugin):
    """Alerts to Discord or Slack"""

    async def execute(self, alert_data):
        config = self.get_config()
        make = slack_message if config["format"] == "slack" else discord_message
        return await self._send(config["webhook_url"], make(alert_data))

    async def _send(self, url, message):
        """Post it; wait as long as the service asks for where that is not too long."""
        for _ in range(TRIES):
            answer = await self.http.post(url, json=message)
            if answer.status < 300:
                return True
            if answer.status != 429:
                # The host tries again later. The URL is a secret: it is in no message.
                raise RuntimeError(f"the webhook answered {answer.status}: {answer.text[:200]}")
            wait = retry_after(answer)
            if wait > LONGEST_WAIT:
                raise RuntimeError(f"the webhook wants {wait:g} seconds of silence")
            await asyncio.sleep(wait)
        return False


def retry_after(answer):
    """Seconds to wait, as the header (both) or the body (Discord) has it."""
    try:
        return max(0.0, float(answer.headers["retry-after"]))
    except (KeyError, ValueError):
        pass
    try:
        return max(0.0, float(answer.json()["retry_after"]))
    except (ValueError, KeyError, TypeError):
        return 5.0


def discord_message(alert):
    """An embed; nobody is pinged, whatever the text of the alert holds."""
    over = alert["state"] == "resolved"
    fields = [
        {"name": cut(escaped(name), FIELD), "value": cut(escaped(value), FIELD), "inline": True}
        for name, value in alert["labels"].items()
        if name and value
    ]
    embed = {
        "title": cut(("Over: " if over else "") + escaped(alert["title"]), TITLE),
        "description": cut(escaped(alert["message"]), TEXT),
        "color": OVER if over else COLOURS.get(alert["severity"], 0),
        "fields": fields[:FIELDS],
        "footer": {"text": f"{alert['severity']} · {alert['rule']}"},
    }
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def slack_message(alert):
    """A header and a section; ``text`` is what notifications show."""
    title = ("Over: " if alert["state"] == "resolved" else "") + alert["title"]
    header = {"type": "plain_text", "text": cut(title, SLACK_HEADER), "emoji": False}
    section = {"type": "mrkdwn", "text": cut(entities(alert["message"]), SLACK_TEXT)}
    about = {"type": "plain_text", "text": f"{alert['severity']} · {alert['rule']}"}
    return {
        "text": cut(entities(f"[{alert['severity']}] {title}"), SLACK_TEXT),
        "blocks": [
            {"type": "header", "text": header},
            {"type": "section", "text": {**section, "verbatim": True}},
            {"type": "context", "elements": [about]},
        ],
    }


def entities(text):
    """Without what Slack takes for links and mentions."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escaped(text):
    """Without what Discord takes for formatting."""
    return "".join(f"\\{each}" if each in "\\*_~`|>#[]()-" else each for each in str(text))


def cut(text, most):
    """At most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
