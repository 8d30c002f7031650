"""Hosts files for features, in the containers directory."""

from collections.abc import Callable

from reconciler.hosts.files import HostsFiles
from reconciler.hosts.leased_write import Outcome


class LocalStore:
    """The files of the containers directory."""

    def __init__(self, files: HostsFiles) -> None:
        self._files = files

    async def read(self, owner: str) -> bytes | None:
        """Return a file's bytes; None if they cannot be read."""
        return self._files.read(owner)

    async def rewrite(self, owner: str, rewritten: Callable[[bytes], bytes]) -> Outcome:
        """Replace a file's bytes by what ``rewritten`` returns; under a lease only."""
        return self._files.rewrite(owner, rewritten)
