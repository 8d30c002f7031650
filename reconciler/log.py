"""Structured logs: constant event names, one line for each change, no line without a change."""

import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from logging import WARNING
from typing import Any, Protocol, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from reconciler.links.text import plain
from watchers.mirror import Mirror

LINK_CHANGED = "link.changed"
"""The canonical line: recipient, alias, family, old and new address, cause, ms after the cause."""
LINK_STATE = "link.state"
"""The state of a link changed; with its reason."""
LABEL_PROBLEM = "label.problem"
CHANGED = "mirror.changed"
DELIVERED = "delivery.tried"
FILE_FOUGHT = "file.fought"
"""Another program rewrites a recipient's file in a loop: relinkd repairs it less often."""
ENGINE_LOST = "engine.lost"
ENGINE_FOUND = "engine.found"
STORE_LOST = "store.lost"
STORE_FOUND = "store.found"
STORE_CUT = "store.cut"
"""The store did not answer for the time of a lease: links to other hosts are withdrawn."""
BAD_RECORD = "store.bad-record"
"""A key or value in the store that relinkd cannot use; the others count as before."""
ENGINE_UNANSWERED = "engine.unanswered"
"""One question to the engine fails and fails; lines that depend on its answer stay."""
STARTED = "daemon.started"
STANDBY = "daemon.standby"
STOPPED = "daemon.stopped"
SYNCED = "daemon.synced"
"""The first full look is complete."""
WATCHES_LIMITED = "watches.limited"
LEASES_UNAVAILABLE = "leases.unavailable"
CONFIG_RELOADED = "config.reloaded"
CONFIG_BROKEN = "config.broken"
"""The config file's last edit is invalid, with the place; the last valid links stay in force."""
RESTART_NEEDED = "config.restart-needed"
LINES_DROPPED = "lines.dropped"
NO_HEALTH = "health.unavailable"
HTTP_FAILED = "http.failed"
"""An answer over HTTP failed by a fault of relinkd."""

BURST = 40
"""Most lines at once about one recipient."""
RATE = 2.0
"""Most lines a second about one recipient, on average."""


_FIRST = ("event", "recipient", "container")
_last_change: dict[str, Any] = {}


def last_change() -> Mapping[str, Any] | None:
    """Return the last `link.changed` line; None before the first."""
    return dict(_last_change) or None


def _keep(_: object, __: str, entry: EventDict) -> EventDict:
    """Keep the last `link.changed` line for `relinkd status`."""
    if entry["event"] == LINK_CHANGED:
        _last_change.clear()
        _last_change.update(entry)
    return entry


def _in_order(_: object, __: str, entry: EventDict) -> EventDict:
    """Put the event first, then the containers that it concerns."""
    first = {name: entry[name] for name in _FIRST if name in entry}
    return {**first, **entry}


def _json(_: object, __: str, entry: EventDict) -> str:
    return msgspec.json.encode(entry, enc_hook=str).decode()


def _console(_: object, __: str, entry: EventDict) -> str:
    """Return a line for a console: time, level, event, containers, other fields."""
    rest = dict(entry)
    time_of_day = str(rest.pop("timestamp", ""))[11:19]
    exception = rest.pop("exception", None)
    level, event = rest.pop("level", ""), rest.pop("event")
    words = [f"{time_of_day} {level:<7} {event}", *(f"{k}={_shown(v)}" for k, v in rest.items())]
    line = " ".join(words)
    return line if exception is None else f"{line}\n{exception}"


def _shown(value: object) -> str:
    """Return a value as readable text on one line, safe for untrusted values."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list() | tuple() | set() | frozenset():
            return ",".join(map(_shown, value)) or "none"
        case dict():
            return ",".join(f"{_shown(k)}:{_shown(v)}" for k, v in value.items()) or "none"
    text = plain(str(value))
    return f'"{text}"' if not text or " " in text else text


def configure(log_format: str, level: str, stream: TextIO) -> None:
    """Set up structlog for `json`, `console`, or `auto`, at a level, onto a stream."""
    levels = {"debug": 10, "info": 20, "warning": 30, "error": 40}
    if log_format == "auto":
        log_format = "console" if stream.isatty() else "json"
    renderer: Processor = _console if log_format == "console" else _json
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _keep,
            structlog.processors.format_exc_info,
            _in_order,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(levels[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the daemon's logger."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


class RateLimit:
    """Limits the lines of each container, so that none can fill the disk by restarting in a loop.

    Memory follows containers: `forget` those that are gone.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float, int]] = {}

    def allows(self, subject: str) -> tuple[bool, int]:
        """Return whether a line may be logged now, and how many were dropped since the last."""
        now = time.monotonic()
        left, since, dropped = self._buckets.get(subject, (float(BURST), now, 0))
        left = min(float(BURST), left + (now - since) * RATE)
        allowed = left >= 1.0
        self._buckets[subject] = (left - 1.0, now, 0) if allowed else (left, now, dropped + 1)
        return allowed, dropped if allowed else 0

    def forget(self, subject: str) -> None:
        """Drop what is known of a container that is gone."""
        self._buckets.pop(subject, None)


class Reporter:
    """Logs lines about containers within their limits; defers them while relinkd writes files."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._limits = RateLimit()
        self._log = get_logger()
        self._waiting: list[tuple[int, str, dict[str, object]]] | None = None

    def say(
        self, level: int, container: str, event: str, /, *, subject: str, **values: object
    ) -> None:
        """Log a line about a container, with its name in the field `subject`."""
        allowed, dropped = self._limits.allows(container)
        known = self._mirror.containers.get(container)
        name = {subject: known.name if known else _short(container)}
        if dropped:
            self._emit(WARNING, LINES_DROPPED, {**name, "lines": dropped})
        if allowed:
            self._emit(level, event, {**name, **values})

    def forget(self, container: str) -> None:
        """Drop what is known of a container that is gone."""
        self._limits.forget(container)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Defer the lines of the `with` body until its end."""
        if self._waiting is not None:
            yield
            return
        self._waiting = []
        try:
            yield
        finally:
            waiting, self._waiting = self._waiting, None
            for level, event, values in waiting:
                self._log.log(level, event, **values)

    def _emit(self, level: int, event: str, values: dict[str, object]) -> None:
        if self._waiting is None:
            self._log.log(level, event, **values)
        else:
            self._waiting.append((level, event, values))


def _short(id_: str) -> str:
    return id_[:12] if len(id_) == 64 else id_  # noqa: PLR2004 - the length of a full ID


class Cause(Protocol):
    """The cause of a change (see `contract.Trigger`)."""

    @property
    def action(self) -> str:
        """The engine's event, or one of relinkd's own."""

    @property
    def container(self) -> str:
        """The ID of the container that it concerns, or an empty text."""

    @property
    def name(self) -> str:
        """The container's name in the event."""

    @property
    def time_ns(self) -> int:
        """Its time by the engine's clock; 0 if it is not an event of the engine."""


def cause(causes: Collection[Cause], mirror: Mirror) -> dict[str, object]:
    """Return the log fields of the cause: the engine's latest event, or relinkd's last cause."""
    if not causes:
        return {}
    latest = max(causes, key=lambda each: each.time_ns)
    if not latest.time_ns:
        *_, latest = causes
    found: dict[str, object] = {"cause": latest.action}
    if latest.container:
        container = mirror.get(latest.container)
        found["of"] = container.title if container else latest.name or _short(latest.container)
    if latest.time_ns:
        found["after_ms"] = round((time.time_ns() - latest.time_ns) / 1e6, 1)
    return found


def stdout() -> TextIO:
    """Return the stream that the daemon logs to."""
    return sys.stdout
