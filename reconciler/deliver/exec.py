"""Hosts files by `exec`, for those who cannot mount the engine's `containers` directory.

What `HostsFiles` does at once takes the engine three calls and a tenth of a second here. So the
controller decides over a copy of each file as it was read last (`ExecFiles`), and a sink beside it
(`ExecWrites`) reads, writes and reads back, and then has the controller look again.

A file is read by GET archive, which shows what is mounted over /etc/hosts in a container, running
or not (engines 20 to 28), and written by the image's own `dd`, as root: no other command that
nearly every image has writes in place, knows from a number where its input ends, and needs no
shell. PUT archive cannot write there at all.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import anyio

from reconciler.core.graph import LinkGraph
from reconciler.core.hostsfile import EngineLink, NotReady, Slot, apply, plan, without_block
from reconciler.core.resolve import plain
from reconciler.deliver.acting import Acting, Ran
from reconciler.deliver.inplace import Outcome, Status, too_large
from reconciler.deliver.sink import RefusedError, Sink
from watchers.engine import Engine
from watchers.errors import EngineError, EngineFailedError, NotFoundError
from watchers.mirror import Mirror
from watchers.model import Container, Hint

HOSTS: Final = "/etc/hosts"
ROOT: Final = "0"
"""By its number: an image need not have the name."""
READS: Final = 16
"""Files that a command reads at once; it may be those of all containers."""
_DUE: Final = Hint("delivery")
_LONGEST: Final = 500
"""Characters of a reason."""
_CANNOT_BEGIN: Final = (126, 127)
_NO_COMMAND: Final = ("executable file not found", "no such file or directory")
_READ_ONLY: Final = "read-only file system"
_LINKED: Final = "Cannot link to a non running container"
_CHANGED: Final = "another program wrote the file at the same moment"


@dataclass(slots=True)
class _Copy:
    """What is known of one file.

    Attributes:
        data: As last read; None before the first time, or where it cannot be.
        wanted: What the controller last said that it should hold.
        rewritten: What is to be made of it besides, once.
        failure: Why the last read or write did not work; empty where it did.
    """

    data: bytes | None = None
    wanted: tuple[tuple[Slot, ...], tuple[EngineLink, ...]] | None = None
    rewritten: Callable[[bytes], bytes] | None = None
    failure: str = ""


class ExecFiles:
    """Copies of hosts files, and what is to become of them."""

    leases_unavailable: str | None = None

    def __init__(self, why: str) -> None:
        """Begin without a copy; `why` says for people why files are not written by their path."""
        self.told: Mapping[str, str] = {"delivery": "exec", "reason": why}
        self.due: Callable[[str], None] = lambda _: None
        """Has a file looked at, and made as it should be."""
        self._copies: dict[str, _Copy] = {}

    def __enter__(self) -> Self:
        """Use as a context manager, as the files that are opened."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close nothing."""

    # -- for the controller ------------------------------------------------------------------------

    def take_lock(self) -> bool:
        """Be the one writer: there is nothing that all who might be could lock."""
        return True

    def lock_holder(self) -> str:
        """Nobody: see `take_lock`."""
        return ""

    def path(self, owner: str) -> Path | None:  # noqa: ARG002 - the same for all
        """Nowhere that could be watched."""
        return None

    def ready(self, owner: str) -> bool:
        """Whether there is a copy, or a reason why not; else the file is read, and told of."""
        copy = self._copies.get(owner)
        if copy is not None and (copy.data is not None or copy.failure):
            return True
        self.due(owner)
        return False

    def read(self, owner: str) -> bytes | None:
        """Return the copy; None where there is none."""
        copy = self._copies.get(owner)
        return copy.data if copy else None

    def deliver(
        self,
        owner: str,
        slots: Sequence[Slot],
        engine_links: Sequence[EngineLink] = (),
        *,
        lease_required: bool = True,  # noqa: ARG002 - who writes by exec has none
    ) -> Outcome:
        """Say whether a file is right by its copy; if not, have it made so: UNDER_WAY.

        FAILED while the last try did for a reason that nothing has changed since.
        """
        copy = self._copies.setdefault(owner, _Copy())
        wanted = (*slots,), (*engine_links,)
        other, copy.wanted = wanted != copy.wanted, wanted
        try:
            if copy.data is not None and copy.rewritten is None:
                todo = plan(copy.data, *wanted)
                if not todo.edits:
                    copy.failure = ""
                    return Outcome(Status.DONE, plan=todo)
        except NotReady:
            pass
        except ValueError as error:
            return Outcome(Status.FAILED, reason=str(error))
        if copy.failure and not other:
            return Outcome(Status.FAILED, reason=copy.failure)
        self.due(owner)
        return Outcome(Status.UNDER_WAY)

    def rewrite(self, owner: str, rewritten: Callable[[bytes], bytes]) -> Outcome:
        """Have it made of the file's bytes, as they are then, what ``rewritten`` says."""
        self._copies.setdefault(owner, _Copy()).rewritten = rewritten
        self.due(owner)
        return Outcome(Status.UNDER_WAY)

    def forget(self, owner: str) -> None:
        """Drop a copy, and what was to become of it."""
        self._copies.pop(owner, None)

    # -- for who reads and writes ------------------------------------------------------------------

    def __contains__(self, owner: str) -> bool:
        """Whether anything is known of a file."""
        return owner in self._copies

    def is_failing(self, owner: str) -> bool:
        """Whether the last try did not work."""
        return owner in self._copies and bool(self._copies[owner].failure)

    def kept(self) -> list[str]:
        """Return whose files are kept; copies of all others, which were looked at once, go."""
        for owner in [id_ for id_, copy in self._copies.items() if copy.wanted is None]:
            del self._copies[owner]
        return [*self._copies]

    def put(self, owner: str, data: bytes) -> None:
        """Take what was read for the copy."""
        self._copies.setdefault(owner, _Copy()).data = data

    def due_bytes(self, owner: str) -> bytes | None:
        """Return what a file should be, by its copy; None where it is so.

        Raises:
            EngineFailedError: it cannot be said, or is nothing that we would write.
        """
        copy = self._copies.get(owner)
        if copy is None or copy.data is None:
            return None
        data = copy.data
        try:
            after = copy.rewritten(data) if copy.rewritten else data
            if copy.wanted is not None:
                after = apply(after, plan(after, *copy.wanted).edits)
        except NotReady:
            raise EngineFailedError(
                "the engine is in the middle of writing it, or its line of localhost is gone"
            ) from None
        except ValueError as error:
            raise EngineFailedError(str(error)) from error
        if after == data:
            copy.rewritten, copy.failure = None, ""
            return None
        if problem := too_large(after, "would have"):
            raise EngineFailedError(problem)
        return after

    def failed(self, owner: str, reason: str) -> None:
        """Take note that a read or write did not work."""
        self._copies.setdefault(owner, _Copy()).failure = reason


class ExecWrites(Sink):
    """Reads each file, makes it what it should be, and reads it back.

    One command runs at a time, in whichever container; reads keep nobody waiting.
    """

    kind = "exec"

    def __init__(
        self, mirror: Mirror, graph: LinkGraph, files: ExecFiles, again: Callable[[str], None]
    ) -> None:
        """Serve `files`; `again` has the controller look at a file anew."""
        super().__init__(mirror, graph)
        self._files = files
        self._again = again
        self._one = anyio.Lock()
        files.due = lambda owner: self.queue.add(owner, _DUE)

    # -- told by the controller --------------------------------------------------------------------

    def changed(
        self,
        containers: Collection[str],
        recipients: Collection[str],  # noqa: ARG002 - what they want by now the controller says
        cause: Hint,
    ) -> None:
        """Read what somebody may have written; try again where it failed and may work by now.

        The engine builds the file of a container that ended anew for its next start.
        """
        for id_ in containers:
            container = self.mirror.containers.get(id_)
            if container is None or not container.running:
                self._files.forget(id_)
                self.forget([id_])
            elif id_ in self._files:
                self.queue.add(id_, cause)
            # No command runs in a `--link` recipient while its source is down.
            for linking in self.mirror.linking(container.name) if container else ():
                if self._files.is_failing(linking) or self.busy(linking):
                    self.queue.add(linking, cause)

    def looked(self, cause: Hint) -> None:
        """Read all that are kept: nobody tells of what is written in a container."""
        for owner in self._files.kept():
            self.queue.add(owner, cause)

    # -- the work ----------------------------------------------------------------------------------

    async def deliver(self, subject: str, cause: Hint, acting: Acting) -> None:  # noqa: ARG002
        """Make one file what it should be; one that is about to start comes here again then."""
        container = self.mirror.containers.get(subject)
        if container is None or not self._is_up(subject):
            return
        if HOSTS in container.mounts:
            raise RefusedError(f"a file of the user's is mounted over {HOSTS}")
        await self._read(subject, acting)
        if self._files.due_bytes(subject) is not None:
            await self._write(container, acting)
        self._again(subject)

    async def _read(self, owner: str, acting: Acting) -> bytes:
        data = await acting.get_file(owner, HOSTS)
        if data is None:
            raise EngineFailedError(f"it has no {HOSTS}")
        if problem := too_large(data, "has"):
            raise EngineFailedError(problem)
        if not self._is_up(owner):
            raise NotFoundError(owner)  # it ended meanwhile, and its file with it
        self._files.put(owner, data)
        return data

    async def _write(self, container: Container, acting: Acting) -> None:
        waited = self._one.locked()
        async with self._one:
            before = self._files.read(container.id) or b""
            if waited:
                # Whatever was written meanwhile would be undone.
                before = await self._read(container.id, acting)
            after = self._files.due_bytes(container.id)
            if after is None:
                return
            if self.mirror.containers[container.id].state == "paused":
                raise RefusedError("it is paused: no command runs in it until it goes on")
            await write(acting, container.id, before, after)
        now = await self._read(container.id, acting)
        # What the controller wants otherwise by now is in the queue already.
        if self._files.due_bytes(container.id) is not None and now != after:
            raise EngineFailedError(_CHANGED)

    def _say_once(self, subject: str, how: str, reason: str) -> None:  # noqa: ARG002 - told alike
        """Have the controller say it, as of every file; of one that ended nothing is wrong."""
        if self._is_up(subject):
            self._files.failed(subject, plain(reason)[:_LONGEST])
            self._again(subject)

    def _is_up(self, owner: str) -> bool:
        """Whether its file is the one that it will have for as long as it runs."""
        container = self.mirror.containers.get(owner)
        return container is not None and container.state in ("running", "paused")


# -- the engine's part -----------------------------------------------------------------------------


async def write(acting: Acting, owner: str, before: bytes, after: bytes) -> None:
    """Make of a running container's file of ``before`` one of ``after``, in place.

    In one write that cuts nothing off. A file that is to be shorter is cut only then, what is left
    of it being empty lines until that is done.

    Raises:
        RefusedError: it will not work before somebody mends it.
        EngineError: it did not work.
    """
    whole = after.ljust(len(before), b"\n")
    size = f"bs={len(whole)}"
    # Busybox and coreutils alike: one block, however many pieces it comes in.
    argv = ["dd", f"of={HOSTS}", "conv=notrunc", size, "count=1", "iflag=fullblock"]
    await _run(acting, owner, argv, whole)
    if len(after) < len(whole):
        cut = ["dd", "if=/dev/null", f"of={HOSTS}", f"bs={len(after)}", "seek=1", "count=0"]
        await _run(acting, owner, cut)


async def _run(acting: Acting, owner: str, argv: list[str], stdin: bytes = b"") -> None:
    try:
        ran = await acting.run(owner, argv, user=ROOT, stdin=stdin)
    except EngineFailedError as error:
        if _LINKED in str(error):
            raise EngineFailedError(
                "the engine runs no command in it while a source of its --link is down, "
                f"in its words: {error}"
            ) from error
        raise
    if ran.code:
        raise _failure(ran)


def _failure(ran: Ran) -> RefusedError | EngineFailedError:
    """Say why a `dd` failed."""
    lines = [line.strip() for line in ran.output.splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("dd:")), " ".join(lines[:1]))
    if ran.code in _CANNOT_BEGIN and any(each in said.lower() for each in _NO_COMMAND):
        return RefusedError(f"its image has no dd, which --delivery exec writes with: {said}")
    if _READ_ONLY in said.lower():
        return RefusedError(f"its root is read-only, and {HOSTS} with it: {said}")
    return EngineFailedError(f"dd ended with code {ran.code}: {said}")


# -- for commands ----------------------------------------------------------------------------------


async def read_all(files: ExecFiles, engine: Engine, owners: Iterable[Container]) -> None:
    """Read the files of these, as far as they can be."""
    acting, limit = Acting(engine), anyio.CapacityLimiter(READS)

    async def one(owner: str) -> None:
        async with limit:
            try:
                data = await acting.get_file(owner, HOSTS)
            except EngineError:
                return
        if data is not None and not too_large(data, "has"):
            files.put(owner, data)

    async with anyio.create_task_group() as tasks:
        for owner in owners:
            if HOSTS not in owner.mounts:
                tasks.start_soon(one, owner.id)


async def clean(acting: Acting, owner: str, engine_links: Sequence[EngineLink] = ()) -> Outcome:
    """Take our block out of a running container's file, and turn the engine's lines on again."""
    try:
        before = await acting.get_file(owner, HOSTS)
        if before is None:
            return Outcome(Status.GONE, reason=f"it has no {HOSTS}")
        after = without_block(before, engine_links)
        if after == before:
            return Outcome(Status.DONE)
        await write(acting, owner, before, after)
        if await acting.get_file(owner, HOSTS) != after:
            return Outcome(Status.FAILED, changed=True, reason=_CHANGED)
    except NotFoundError as error:
        return Outcome(Status.GONE, reason=str(error))
    except (RefusedError, EngineError) as error:
        return Outcome(Status.FAILED, reason=plain(str(error))[:_LONGEST])
    return Outcome(Status.DONE, changed=True)
