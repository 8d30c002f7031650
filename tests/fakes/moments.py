"""Moments, as the engine writes them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

NEVER = "0001-01-01T00:00:00Z"


def instant(nanoseconds: int) -> str:
    """Return a time as Go writes it."""
    if not nanoseconds:
        return NEVER
    seconds, fraction = divmod(nanoseconds, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"


def ago(nanoseconds: int) -> str:
    """Return a duration until now in words, as the list shows it."""
    seconds = (time.time_ns() - nanoseconds) // 10**9
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return f"{seconds} second{'s' * (seconds > 1)}"
    if seconds < 120:
        return "About a minute"
    return f"{seconds // 60} minutes"
