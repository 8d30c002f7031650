"""The interface of hosts files for commands and features, for each way of delivery."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, Self

from reconciler.hosts.leased_write import Outcome


class Files(Protocol):
    """Hosts files by their owners' IDs; every call is synchronous.

    `HostsFiles` reads them in the containers directory; `ExecFiles` holds copies.
    """

    @property
    def told(self) -> Mapping[str, str]:
        """How relinkd reaches the files, as `daemon.started` logs it."""

    @property
    def leases_unavailable(self) -> str | None:
        """Why the kernel never leases some file; None if it leases all."""

    def __enter__(self) -> Self:
        """Return itself; the context manager closes it at its end."""

    def __exit__(self, *_: object) -> None:
        """Close."""

    def take_lock(self) -> bool:
        """Become the only writer; return False if another process is."""

    def lock_holder(self) -> str:
        """Return the process that holds the lock, for the log, after `take_lock` failed."""

    def path(self, owner: str) -> Path | None:
        """Return the path to watch for a file; None if there is none."""

    def read(self, owner: str) -> bytes | None:
        """Return a file's bytes; None if it is gone or is not a file that relinkd would write."""

    def forget(self, owner: str) -> None:
        """Drop all state of a file."""


class Store(Protocol):
    """Hosts files for features, which read and rewrite them."""

    async def read(self, owner: str) -> bytes | None:
        """Return a file's bytes; None if they cannot be read."""

    async def rewrite(self, owner: str, rewritten: Callable[[bytes], bytes]) -> Outcome:
        """Replace a file's bytes by what ``rewritten`` returns."""
