"""Hosts files by `exec`, for engines whose `containers` directory relinkd cannot mount.

relinkd reads a file by GET archive, which returns the file mounted over /etc/hosts, whether the
container runs or not (engines 20 to 28). It writes with the image's own `dd`, as root: `dd` is the
only command in nearly every image that writes in place, stops its input at a byte count, and needs
no shell. PUT archive cannot write there at all.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Self

import anyio

from reconciler.contract import (
    Change,
    Done,
    Refused,
    RefusedError,
    Result,
    Retry,
    TaskReconciler,
    Trigger,
    Triggers,
)
from reconciler.engine_api import EngineApi, Ran
from reconciler.hosts.block import NOT_READY, NotReady, apply, without_block
from reconciler.hosts.leased_write import Outcome, Status, too_large
from reconciler.hosts.plan import Plan
from reconciler.hosts.records import Records, Wanted
from reconciler.links.desired import Desired, EngineLine
from reconciler.links.sources import keeper_of
from reconciler.links.text import plain
from watchers.engine import Engine
from watchers.errors import EngineError, EngineFailedError, NotFoundError
from watchers.model import Container

HOSTS: Final = "/etc/hosts"
ROOT: Final = "0"
"""The user by number: an image may lack the name."""
READS: Final = 16
"""Most files that a command of relinkd reads at the same time."""
_LONGEST: Final = 500
"""Most characters of a reason."""
_CANNOT_BEGIN: Final = (126, 127)
_NO_COMMAND: Final = ("executable file not found", "no such file or directory")
_READ_ONLY: Final = "read-only file system"
_LINKED: Final = "Cannot link to a non running container"
_CHANGED: Final = "another program wrote the file at the same moment"


class ExecFiles:
    """Copies of hosts files, as relinkd last read them."""

    leases_unavailable: str | None = None

    def __init__(self, why: str) -> None:
        """Start without copies; `why` is the reason, for the log, not to write files by path."""
        self.told: Mapping[str, str] = {"delivery": "exec", "reason": why}
        self._copies: dict[str, bytes] = {}

    def __enter__(self) -> Self:
        """Return itself, so that callers can use it like `HostsFiles`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: no file is open."""

    def take_lock(self) -> bool:
        """Return True: exec has no file to lock."""
        return True

    def lock_holder(self) -> str:
        """Return an empty text: see `take_lock`."""
        return ""

    def path(self, owner: str) -> Path | None:  # noqa: ARG002 - the same for all
        """Return None: there is no path to watch."""
        return None

    def read(self, owner: str) -> bytes | None:
        """Return the copy; None if there is none."""
        return self._copies.get(owner)

    def put(self, owner: str, data: bytes) -> None:
        """Store a copy."""
        self._copies[owner] = data

    def forget(self, owner: str) -> None:
        """Drop a copy."""
        self._copies.pop(owner, None)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the owners of all copies."""
        return iter([*self._copies])


class ExecHosts(TaskReconciler):
    """Keeps the hosts file of every recipient: reads it, writes it, and reads it back.

    One write command runs at a time, over all containers; reads run at the same time.
    """

    kind = "delivery"
    subject = "recipient"

    def __init__(self, records: Records, files: ExecFiles) -> None:
        """Keep a copy of each file in `files`."""
        self.records = records
        self._files = files
        self._mirror = records.mirror
        self._one = anyio.Lock()
        self._failing: set[str] = set()
        self.outcomes: Counter[str] = Counter()

    # -- keys ------------------------------------------------------------------------------------

    def keys(self, change: Change) -> Iterable[str]:
        """Return the owners of the files that a change concerns.

        That includes files that relinkd failed to write: the engine runs no command in a `--link`
        recipient while its source is down. The engine rebuilds the file of a container that
        stopped, so relinkd drops its copy.
        """
        found = {*self.records.keys(change)}
        for id_ in change.containers:
            container = self._mirror.containers.get(id_)
            if container is None:
                self._forget(id_)
                continue
            if not container.running:
                self._files.forget(id_)
            elif id_ in self.records:
                found.add(id_)
            found |= self._mirror.linking(container.name) & self._failing
        return found

    def every_key(self) -> Collection[str]:
        """Return the owners of all files: no event reports the writes of a container's program.

        The first time, return all containers: some may have had links when relinkd last ran.
        """
        return [*self.records] or [*self._mirror.containers]

    def doubts(self, owner: str) -> bool:
        """Whether the last delivery failed; what programs write is seen at each resync alone."""
        return owner in self._failing

    def _forget(self, owner: str) -> None:
        self.records.forget(owner)
        self._files.forget(owner)
        self._failing.discard(owner)

    # -- one file --------------------------------------------------------------------------------

    async def reconcile(self, key: str, triggers: Triggers, engine: Engine) -> Result:
        """Bring one hosts file to its wanted lines; a container not yet running waits."""
        owner = self._mirror.containers.get(key)
        if owner is None or not self._is_up(key) or owner.detail is None:
            return Done()
        if keeper_of(owner, self._mirror) is not owner:
            return Done()
        if HOSTS in owner.mounts or owner.shares is not None:
            want = self.records.desired(owner)
            record = self.records.seen(owner, want, None)
            if record is not None:
                self.records.log_states(owner, want.links, record, triggers)
            return Done()
        try:
            result = await self._deliver(key, triggers, EngineApi(engine))
        except NotFoundError:
            return Done()
        except (RefusedError, EngineError) as error:
            self._failing.add(key)
            reason = plain(str(error))[:_LONGEST]
            if not self._is_up(key):
                return Done()  # the container ended, which explains the failure
            self.outcomes["failed"] += 1
            return Refused(reason) if isinstance(error, RefusedError) else Retry(reason=reason)
        self._failing.discard(key)
        self.outcomes["done"] += 1
        return result

    async def _deliver(self, key: str, triggers: Triggers, api: EngineApi) -> Result:
        data = await self._read(key, api)
        owner = self._mirror.containers[key]
        want = self.records.desired(owner)
        known = self.records.seen(owner, want, data)
        if known is None:
            self._files.forget(key)
            return Done()
        planned, wanted = _planned(self.records, want, data, api)
        causes = [*triggers]
        if planned.edits:
            planned, wanted, causes = await self._write(owner, triggers, api)
        known.wanted = wanted
        return Done(self.records.delivered(owner, want, known, planned, causes))

    async def _read(self, owner: str, api: EngineApi) -> bytes:
        data = await api.get_file(owner, HOSTS)
        if data is None:
            raise EngineFailedError(f"it has no {HOSTS}")
        if problem := too_large(data, "has"):
            raise EngineFailedError(problem)
        if not self._is_up(owner):
            raise NotFoundError(owner)  # the container ended meanwhile, and its file with it
        self._files.put(owner, data)
        return data

    async def _write(
        self, owner: Container, triggers: Triggers, api: EngineApi
    ) -> tuple[Plan, Wanted, list[Trigger]]:
        """Write the lines wanted now, and read them back; also return the triggers until now."""
        async with self._one:
            # Read again: the write would undo changes that another program made meanwhile.
            before = await self._read(owner.id, api)
            planned, wanted = _planned(self.records, self.records.desired(owner), before, api)
            causes = [*triggers]
            after = apply(before, planned.edits)
            if after == before:
                return planned, wanted, causes
            if problem := too_large(after, "would have"):
                raise EngineFailedError(problem)
            if self._mirror.containers[owner.id].state == "paused":
                raise RefusedError("it is paused: the engine runs no command in it until unpaused")
            await write(api, owner.id, before, after)
        if await self._read(owner.id, api) != after:
            raise EngineFailedError(_CHANGED)
        return planned, wanted, causes

    def _is_up(self, owner: str) -> bool:
        """Whether the container runs, so that its file stays the same until it stops."""
        container = self._mirror.containers.get(owner)
        return container is not None and container.state in ("running", "paused")


def _planned(records: Records, want: Desired, data: bytes, api: EngineApi) -> tuple[Plan, Wanted]:
    try:
        return records.planned(want, data, loses_comments=api.is_podman)
    except NotReady:
        raise EngineFailedError(NOT_READY) from None
    except ValueError as error:
        raise EngineFailedError(str(error)) from error


# -- the engine's part -----------------------------------------------------------------------------


async def write(api: EngineApi, owner: str, before: bytes, after: bytes) -> None:
    """Change a running container's file from ``before`` to ``after``, in place.

    One write that does not truncate. If the file gets shorter, the write fills the rest with
    newlines, and a second command cuts them off.

    Raises:
        RefusedError: The write cannot work until something changes.
        EngineError: The write failed.
    """
    whole = after.ljust(len(before), b"\n")
    size = f"bs={len(whole)}"
    # For busybox and coreutils alike: one block, even if it arrives in several pieces.
    argv = ["dd", f"of={HOSTS}", "conv=notrunc", size, "count=1", "iflag=fullblock"]
    await _run(api, owner, argv, whole)
    if len(after) < len(whole):
        cut = ["dd", "if=/dev/null", f"of={HOSTS}", f"bs={len(after)}", "seek=1", "count=0"]
        await _run(api, owner, cut)


async def _run(api: EngineApi, owner: str, argv: list[str], stdin: bytes = b"") -> None:
    try:
        ran = await api.run(owner, argv, user=ROOT, stdin=stdin)
    except EngineFailedError as error:
        if _LINKED in str(error):
            raise EngineFailedError(
                f"the engine runs no command in it while a source of its --link is down: {error}"
            ) from error
        raise
    if ran.code:
        raise _failure(ran)


def _failure(ran: Ran) -> RefusedError | EngineFailedError:
    """Return the error for a failed `dd`."""
    lines = [line.strip() for line in ran.output.splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("dd:")), " ".join(lines[:1]))
    if ran.code in _CANNOT_BEGIN and any(each in said.lower() for each in _NO_COMMAND):
        return RefusedError(f"its image has no dd, which --delivery exec needs: {said}")
    if _READ_ONLY in said.lower():
        return RefusedError(f"its root file system is read-only, and so is {HOSTS}: {said}")
    return EngineFailedError(f"dd ended with code {ran.code}: {said}")


# -- for others ------------------------------------------------------------------------------------


async def read_all(files: ExecFiles, engine: Engine, owners: Iterable[Container]) -> None:
    """Read the files of these containers; leave out files that cannot be read."""
    api, limit = EngineApi(engine), anyio.CapacityLimiter(READS)

    async def one(owner: str) -> None:
        async with limit:
            try:
                data = await api.get_file(owner, HOSTS)
            except EngineError:
                return
        if data is not None and not too_large(data, "has"):
            files.put(owner, data)

    async with anyio.create_task_group() as tasks:
        for owner in owners:
            if HOSTS not in owner.mounts:
                tasks.start_soon(one, owner.id)


async def rewrite(api: EngineApi, owner: str, rewritten: Callable[[bytes], bytes]) -> Outcome:
    """Replace a running container's file by what ``rewritten`` returns for its bytes."""
    try:
        before = await api.get_file(owner, HOSTS)
        if before is None:
            return Outcome(Status.GONE, reason=f"it has no {HOSTS}")
        after = rewritten(before)
        if after == before:
            return Outcome(Status.DONE)
        await write(api, owner, before, after)
        if await api.get_file(owner, HOSTS) != after:
            return Outcome(Status.FAILED, changed=True, reason=_CHANGED)
    except NotReady:
        return Outcome(Status.NOT_READY, reason="the engine is writing the file")
    except NotFoundError as error:
        return Outcome(Status.GONE, reason=str(error))
    except (RefusedError, EngineError) as error:
        return Outcome(Status.FAILED, reason=plain(str(error))[:_LONGEST])
    return Outcome(Status.DONE, changed=True)


async def clean(api: EngineApi, owner: str, engine_lines: Iterable[EngineLine] = ()) -> Outcome:
    """Remove relinkd's block from a running container's file; turn the engine's lines on again."""
    lines = [*engine_lines]
    return await rewrite(api, owner, lambda data: without_block(data, lines))


class ExecStore:
    """Hosts files for features, read and rewritten by exec."""

    def __init__(self, api: EngineApi) -> None:
        self._api = api

    async def read(self, owner: str) -> bytes | None:
        """Return a file's bytes; None if they cannot be read."""
        try:
            return await self._api.get_file(owner, HOSTS)
        except EngineError:
            return None

    async def rewrite(self, owner: str, rewritten: Callable[[bytes], bytes]) -> Outcome:
        """Replace a running container's file by what ``rewritten`` returns for its bytes."""
        return await rewrite(self._api, owner, rewritten)
