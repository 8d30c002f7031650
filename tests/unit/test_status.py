"""The screen of `relinkd status`, from its data alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.views.status import Daemon, Engine, Screen, Setting, shown

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
SCREEN = Screen(
    daemon=Daemon("0.1.0", 17, (NOW - timedelta(hours=3)).isoformat(), "ok"),
    no_daemon="",
    engine=Engine("unix:///var/run/docker.sock", "28.5.2", "1.51"),
    no_engine="",
    settings=[Setting("resync", "60s", "default"), Setting("allow", "signal", "RELINKD_ALLOW")],
    recipients=2,
    links={"linked": 3, "down": 1},
    last_change={
        "recipient": "web",
        "alias": "db",
        "old": None,
        "new": "172.17.0.2",
        "timestamp": "2026-11-26T11:59:00Z",
    },
    attention=[],
)


def lines(screen: Screen) -> list[str]:
    return [" ".join(line.split()) for line in shown(screen, NOW).splitlines()]


def test_all_is_well() -> None:
    assert lines(SCREEN) == [
        "daemon relinkd 0.1.0, process 17: ok",
        "since 2026-11-26T09:00:00+00:00 (3 hours ago)",
        "engine 28.5.2 at unix:///var/run/docker.sock, API 1.51",
        "settings resync 60s (default)",
        "allow signal (RELINKD_ALLOW)",
        "recipients 2",
        "links 4: 3 linked, 1 down",
        "last change web: db nothing -> 172.17.0.2, 2026-11-26T11:59:00Z",
        "needs attention nothing",
    ]


def test_neither_daemon_nor_engine() -> None:
    screen = replace(
        SCREEN, daemon=None, no_daemon="no socket", engine=None, no_engine="no such file"
    )
    found = lines(screen)
    assert found[:2] == ["daemon not running: no socket", "engine no such file"]
    assert not any(line.startswith(("links", "recipients", "last", "since")) for line in found)


def test_nothing_has_happened_and_there_are_no_links() -> None:
    found = lines(replace(SCREEN, links={}, recipients=0, last_change=None, settings=[]))
    assert "links 0" in found
    assert "last change none logged since its start" in found


def test_the_first_ten_problems_are_shown_and_hostile_text_is_one_line() -> None:
    found = lines(replace(SCREEN, attention=["one\n\x1b[31mtwo", *map(str, range(11))]))
    assert "needs attention one\\n\\x1b[31mtwo" in found
    assert found[-1] == "and 2 more: relinkd check"


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(seconds=5), "5 seconds ago"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(days=2, hours=5), "2 days ago"),
        (timedelta(seconds=-5), "0 seconds ago"),
    ],
)
def test_how_long_ago(ago: timedelta, text: str) -> None:
    daemon = Daemon("0.1.0", 17, (NOW - ago).isoformat(), "ok")
    assert lines(replace(SCREEN, daemon=daemon))[1].endswith(f"({text})")
