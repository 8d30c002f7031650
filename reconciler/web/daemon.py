"""What the web server needs of the daemon."""

from typing import Protocol

from reconciler.wiring import Wiring


class Daemon(Protocol):
    """The daemon that is shown."""

    standby: str | None
    """What it waits for, while another one writes."""
    wiring: Wiring | None
    """None before it has the lock."""

    def line(self) -> str:
        """Return what `relinkd health` shows."""
