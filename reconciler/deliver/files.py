"""What the controller asks of hosts files, however they are reached."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

from reconciler.core.hostsfile import EngineLink, Slot
from reconciler.deliver.inplace import Outcome


class Files(Protocol):
    """Hosts files by their owners' IDs; every call is synchronous.

    `HostsFiles` does what it is told at once. `ExecFiles` knows a copy of each file, and has what
    it is told done meanwhile.
    """

    @property
    def told(self) -> Mapping[str, str]:
        """How they are reached, as `daemon.started` says it."""

    @property
    def leases_unavailable(self) -> str | None:
        """Why some file can never be leased; None when all can be."""

    def __enter__(self) -> Self:
        """Use as a context manager: closed at its end."""

    def __exit__(self, *_: object) -> None:
        """Close."""

    def take_lock(self) -> bool:
        """Become the one writer, where that can be told; False: somebody else is."""

    def lock_holder(self) -> str:
        """Say for people who has the lock, once `take_lock` was in vain."""

    def path(self, owner: str) -> Path | None:
        """Say where a file can be watched; None: nowhere."""

    def ready(self, owner: str) -> bool:
        """Whether a file can be looked at now; else it comes up at the controller when it can."""

    def read(self, owner: str) -> bytes | None:
        """Return a file's bytes, or None where it is gone or none that we would write."""

    def deliver(
        self,
        owner: str,
        slots: Sequence[Slot],
        engine_links: Sequence[EngineLink] = (),
        *,
        lease_required: bool = True,
    ) -> Outcome:
        """Make a file say what it should."""

    def rewrite(self, owner: str, rewritten: Callable[[bytes], bytes]) -> Outcome:
        """Make of a file's bytes what ``rewritten`` says."""

    def forget(self, owner: str) -> None:
        """Drop what is known of a file."""
