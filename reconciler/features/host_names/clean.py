"""`relinkd clean` for the host's own hosts file: removes the block, keeps all other lines."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio

from reconciler.feature import Cleaned, Leaving
from reconciler.features.host_names.host_file import HostFile
from reconciler.features.host_names.names import claims
from reconciler.hosts.block import read_block
from reconciler.hosts.leased_write import Outcome, Status
from reconciler.links.text import counted

OWN_HOSTS = Path("/etc/hosts")
"""The path of the file for a relinkd that runs on the host itself."""
PATIENCE = 5.0
"""Seconds to wait for a file that another process has open."""
PAUSE = 0.01
"""Seconds between two tries."""


async def clean(leaving: Leaving) -> AsyncIterator[Cleaned]:
    """Remove relinkd's block, or yield how to do it if the file is not here."""
    given = leaving.settings.host_names_file
    path = Path(given) if given is not None else OWN_HOSTS
    file = HostFile(path)
    slots = read_block(file.read() or b"")
    if slots is None:
        askers = sorted(each.name for each in leaving.mirror.containers.values() if claims(each))
        if given is None and askers:
            yield Cleaned(
                f"{', '.join(askers)} asked for names in the host's hosts file; {path} has none of "
                "them. For another file: relinkd clean --host-names-file FILE --allow host-names",
                "note",
            )
        return
    outcome = Outcome(Status.DONE) if leaving.dry_run else await _clean(file)
    if outcome.status is not Status.DONE:
        yield Cleaned(f"{path}: not cleaned: {outcome.reason}", "failed")
        return
    would = "would be " if leaving.dry_run else ""
    yield Cleaned(f"{path}: the block of {counted(len(slots), 'line')} {would}removed")


async def _clean(file: HostFile) -> Outcome:
    outcome = file.clean()
    with anyio.move_on_after(PATIENCE):
        while outcome.status is Status.BUSY:
            await anyio.sleep(PAUSE)
            outcome = file.clean()
    file.close()
    return outcome
