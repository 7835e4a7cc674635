"""What we use of structlog, without what it would bring along.

It imports rich, and with it pygments, where they are there, for tracebacks in colours that no line
of ours has: four megabytes of a service that idles. So it does not find them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or "rich" in sys.modules:
    from structlog.processors import format_exc_info
    from structlog.stdlib import ExtraAdder, ProcessorFormatter
    from structlog.typing import EventDict, WrappedLogger
else:
    sys.modules["rich"] = None
    try:
        from structlog.processors import format_exc_info
        from structlog.stdlib import ExtraAdder, ProcessorFormatter
        from structlog.typing import EventDict, WrappedLogger
    finally:
        del sys.modules["rich"]

__all__ = ["EventDict", "ExtraAdder", "ProcessorFormatter", "WrappedLogger", "format_exc_info"]
