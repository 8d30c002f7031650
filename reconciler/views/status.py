"""The screen of `relinkd status`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from reconciler.links.text import plain

_INDENT = 18
_MOST = 10
"""Most problems on the screen."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting in force, and where it comes from."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Daemon:
    """The daemon's answer about itself."""

    version: str
    pid: int
    started: str
    state: str


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine that the command asked."""

    address: str
    version: str
    api: str


@dataclass(frozen=True, slots=True)
class Screen:
    """The data of the screen; None for unknown parts."""

    daemon: Daemon | None
    no_daemon: str
    """Why no daemon answered."""
    engine: Engine | None
    no_engine: str
    settings: Sequence[Setting]
    """The settings that are not the default, and a few that always matter."""
    recipients: int
    links: Mapping[str, int]
    """State -> number of links."""
    last_change: Mapping[str, Any] | None
    attention: Sequence[str]
    fleet: str | None = None
    """The condition of the fleet's store as the daemon has it; None without one."""


def shown(screen: Screen, now: datetime) -> str:
    """Return the screen as text."""
    return "\n".join(line.rstrip() for line in _lines(screen, now))


def _lines(screen: Screen, now: datetime) -> Iterator[str]:
    daemon = screen.daemon
    if daemon is None:
        yield _row("daemon", f"not running: {screen.no_daemon}")
    else:
        ago = _ago(now - datetime.fromisoformat(daemon.started))
        yield _row("daemon", f"relinkd {daemon.version}, process {daemon.pid}: {daemon.state}")
        yield _row("since", f"{daemon.started} ({ago})")
    engine = screen.engine
    found = (
        f"{engine.version} at {engine.address}, API {engine.api}" if engine else screen.no_engine
    )
    yield _row("engine", found)
    width = max((len(each.name) for each in screen.settings), default=0)
    value = max((len(each.value) for each in screen.settings), default=0)
    for at, each in enumerate(screen.settings):
        text = f"{each.name:<{width}}  {plain(each.value):<{value}}  ({each.origin})"
        yield _row("" if at else "settings", text)
    if engine is not None:
        states = ", ".join(f"{count} {state}" for state, count in screen.links.items())
        yield _row("recipients", str(screen.recipients))
        yield _row("links", f"{sum(screen.links.values())}{f': {states}' if states else ''}")
    if screen.fleet is not None:
        yield _row("fleet", plain(screen.fleet))
    if daemon is not None:
        yield _row("last change", _change(screen.last_change))
    for at, problem in enumerate(screen.attention[:_MOST]):
        yield _row("" if at else "needs attention", plain(problem))
    if (more := len(screen.attention) - _MOST) > 0:
        yield _row("", f"and {more} more: relinkd check")
    if not screen.attention:
        yield _row("needs attention", "nothing")


def _row(head: str, text: str) -> str:
    return f"{head:<{_INDENT}}{text}"


def _change(line: Mapping[str, Any] | None) -> str:
    if line is None:
        return "none logged since its start"
    of = {key: plain(str(line.get(key) or "nothing")) for key in ("old", "new")}
    what = f"{plain(str(line.get('recipient')))}: {plain(str(line.get('alias')))}"
    return f"{what} {of['old']} -> {of['new']}, {line.get('timestamp', '')}"


def _ago(since: timedelta) -> str:
    seconds = max(0, int(since.total_seconds()))
    for unit, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if (count := seconds // unit) >= 1:
            return f"{count} {name}{'s' * (count > 1)} ago"
    return f"{seconds} seconds ago"
