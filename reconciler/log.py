"""Structured logs: constant event names, one line a change, nothing when nothing changes."""

import sys
import time
from collections import OrderedDict
from typing import TextIO

import msgspec
import structlog
from structlog.typing import Processor

LINK_CHANGED = "link.changed"
"""The canonical line: recipient, alias, family, old and new address, cause, ms after the cause."""
LINK_STATE = "link.state"
"""A link went to another state; with its reason."""
LABEL_PROBLEM = "label.problem"
CHANGED = "mirror.changed"
DELIVERED = "delivery.tried"
DELIVERY_FAILED = "delivery.failed"
DELIVERY_RESUMED = "delivery.resumed"
FILE_FOUGHT = "file.fought"
"""Another program writes a recipient's file in a loop: relinkd stops answering each time."""
ENGINE_LOST = "engine.lost"
ENGINE_FOUND = "engine.found"
STARTED = "daemon.started"
STANDBY = "daemon.standby"
STOPPED = "daemon.stopped"
LOOKED = "daemon.looked"
WATCHES_LIMITED = "watches.limited"
LEASES_UNAVAILABLE = "leases.unavailable"
CONFIG_RELOADED = "config.reloaded"
CONFIG_BROKEN = "config.broken"
"""The config file's last edit cannot stand; with where. The links of the last good one do."""
RESTART_NEEDED = "config.restart-needed"
LINES_DROPPED = "lines.dropped"
NO_HEALTH = "health.unavailable"

BURST = 40
"""Lines that one recipient may cause at once."""
RATE = 2.0
"""Lines a second that one recipient may cause for long."""
_REMEMBERED = 4096


def _json(entry: object, **_: object) -> str:
    return msgspec.json.encode(entry, enc_hook=str).decode()


def configure(log_format: str, level: str, stream: TextIO) -> None:
    """Set up structlog for `json` or `console`, at a level, onto a stream."""
    levels = {"debug": 10, "info": 20, "warning": 30, "error": 40}
    renderer: Processor = structlog.processors.JSONRenderer(serializer=_json)
    if log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(levels[level]),
        logger_factory=structlog.PrintLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the daemon's logger."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


class RateLimit:
    """Lets each recipient say so much: no container can fill the disk by restarting in a loop."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, float, int]] = OrderedDict()

    def allows(self, subject: str) -> tuple[bool, int]:
        """Return whether a line may be said now, and how many were not since the last one."""
        now = time.monotonic()
        left, since, dropped = self._buckets.pop(subject, (float(BURST), now, 0))
        left = min(float(BURST), left + (now - since) * RATE)
        allowed = left >= 1.0
        self._buckets[subject] = (left - 1.0, now, 0) if allowed else (left, now, dropped + 1)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return allowed, dropped if allowed else 0

    def forget(self, subject: str) -> None:
        """Drop what is known of a recipient that is gone."""
        self._buckets.pop(subject, None)


def stdout() -> TextIO:
    """Return the stream that the daemon logs to."""
    return sys.stdout
