"""The only wiring: builds every part from the settings, and closes them in reverse.

``engines`` and ``transfers`` make what moves files, ``operations`` what watches over it, and
``service`` starts and stops them in order.
"""

from bot.app.parts import database_url
from bot.app.service import App, here, locked, opened_store, running, started

__all__ = ["App", "database_url", "here", "locked", "opened_store", "running", "started"]
