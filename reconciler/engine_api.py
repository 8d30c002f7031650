"""All calls that change the engine. relinkd builds this only if `--allow` asks for it.

The calls are aiodocker's own, over the observer's connection. aiodocker raises five kinds of errors
and has no deadlines (0.27): here each call has a deadline, and raises only errors of
watchers/errors.py.
"""

import io
import tarfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import aiohttp
import anyio
from aiodocker import DockerError
from aiodocker.containers import DockerContainer
from aiodocker.networks import DockerNetwork

from watchers.engine import Engine
from watchers.errors import EngineFailedError, EngineGoneError, NotFoundError

DEADLINE = 5.0
"""Seconds for one call."""
RESTART_DEADLINE = 120.0
"""Seconds for a restart: the recipient may use all of its stop time-out."""
NOTED = 0.02
"""Seconds between two checks whether a command has ended after its output has."""
_MOST_OUTPUT = 4096
"""Most bytes of a command's output to keep: enough for the reason of a failure."""
_MOST_READ = 1024 * 1024
"""Most bytes of a file's archive to read."""
_AS_ANOTHER = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LD_PRELOAD": "",
    "LD_LIBRARY_PATH": "",
}
"""Variables of a command that runs as another user than the container's own.

The image's variables may name folders of the container's user, whose programs would run as root."""
_NOT_FOUND = 404
_NO_CONNECTION = 900
"""The status that aiodocker reports if there was no answer."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command in a container ended."""

    code: int
    output: str
    """The first 4 KiB of stdout and stderr; the engine's message if the command did not start."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A container that has a network in its configuration."""

    id: str
    name: str
    running: bool


class EngineApi:
    """The acting half of one connected engine.

    Every call raises `NotFoundError` (no such container or network), `EngineFailedError` (refused
    or too slow, with the engine's message) or `EngineGoneError` (out of reach), and no other error.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def is_podman(self) -> bool:
        """Whether the engine is Podman, which drops comments of hosts files."""
        return self.engine.is_podman

    async def run(
        self,
        container: str,
        argv: Sequence[str],
        *,
        user: str = "",
        stdin: bytes = b"",
        deadline: float = DEADLINE,
    ) -> Ran:
        """Run a command, without a shell, in a running container as its own user or another.

        The engine refuses it in paused containers, and in `--link` recipients with a source down.
        A command that runs longer than `deadline` seconds is left running. The command must know
        the size of `stdin` in bytes: it sees the end of input only when the call ends.
        """
        async with _call(f"exec in {container[:12]}", deadline):
            begun = await self._container(container).exec(
                [*argv], user=user, environment=_AS_ANOTHER if user else None, stdin=bool(stdin)
            )
            output = bytearray()
            async with begun.start(detach=False) as stream:
                if stdin:
                    # A command that did not start reads no input; its exit code shows that below.
                    with suppress(AssertionError, aiohttp.ClientError, OSError):
                        await stream.write_in(stdin)
                while (part := await stream.read_out()) is not None:
                    output += part.data[: _MOST_OUTPUT - len(output)]
            # The stream may end before the command, or before the engine has noted its end.
            while (ended := await begun.inspect()).get("Running"):  # noqa: ASYNC110 - the engine has no call to wait
                await anyio.sleep(NOTED)
            code = ended.get("ExitCode")
            return Ran(code if isinstance(code, int) else -1, output.decode(errors="replace"))

    async def put_file(
        self, container: str, path: str, data: bytes, *, below: str = "/", mode: int = 0o644
    ) -> None:
        """Put a file owned by root into a container, running or not, with the folders above it.

        The engine unlinks an existing file first: readers find none for a moment (engines 20 to
        29). It keeps a folder of that name and fails. On a read-only root it refuses all files but
        those `below` a writable mount.
        """
        async with (
            _call(f"put {path} into {container[:12]}", DEADLINE),
            # Not put_archive, which lacks this parameter: the engine would then replace a folder,
            # with all its content, by a file.
            self.engine.docker._query(  # noqa: SLF001 - aiodocker has no call for it
                f"containers/{container}/archive",
                method="PUT",
                params={"path": below, "noOverwriteDirNonDir": "1"},
                data=_archive(path, below, data, mode),
                headers={"Content-Type": "application/x-tar"},
            ) as response,
        ):
            await response.read()

    async def get_file(self, container: str, path: str) -> bytes | None:
        """Return a file of a container, running or not; None if it does not exist.

        A file may have any size: this returns its first mebibyte at most.
        """
        try:
            async with (
                _call(f"get {path} of {container[:12]}", DEADLINE),
                self.engine.docker._query(  # noqa: SLF001 - get_archive would read all of it
                    f"containers/{container}/archive", params={"path": path}
                ) as response,
            ):
                archive = bytearray()
                while len(archive) < _MOST_READ and (part := await response.content.readany()):
                    archive += part
                if not response.content.at_eof():
                    response.close()
                with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as found:
                    member = found.next()
        except NotFoundError:
            return None
        if member is None or not member.isreg():
            raise EngineFailedError(f"{path} of {container[:12]} is not a regular file")
        return bytes(archive[member.offset_data :][: member.size])

    async def restart(self, container: str) -> None:
        """Restart a container within its own stop time-out."""
        async with _call(f"restart {container[:12]}", RESTART_DEADLINE):
            await self._container(container).restart(timeout=aiohttp.ClientTimeout())

    async def create_network(
        self, name: str, subnets: Sequence[str], labels: Mapping[str, str]
    ) -> str:
        """Create an internal bridge network, with IPv6 if a subnet is IPv6; return its ID."""
        config = {
            "Name": name,
            "CheckDuplicate": True,  # otherwise 20 and 26 accept a name twice
            "Driver": "bridge",
            "Internal": True,
            "EnableIPv6": any(":" in subnet for subnet in subnets),
            "IPAM": {"Driver": "default", "Config": [{"Subnet": each} for each in subnets]},
            "Labels": dict(labels),
        }
        async with _call(f"create network {name}", DEADLINE):
            made = await self.engine.docker.networks.create(config)
            return str(made.id)

    async def remove_network(self, network: str) -> None:
        """Remove a network; the engine refuses while running containers are on it."""
        async with _call(f"remove network {network[:12]}", DEADLINE):
            await self._network(network).delete()

    async def join(self, network: str, container: str) -> None:
        """Connect a container, running or not, to a network."""
        async with _call(f"connect {container[:12]} to network {network[:12]}", DEADLINE):
            await self._network(network).connect({"Container": container})

    async def leave(self, network: str, container: str) -> None:
        """Disconnect a container from a network; for one that is gone, give its name."""
        async with _call(f"disconnect {container[:12]} from network {network[:12]}", DEADLINE):
            await self._network(network).disconnect({"Container": container, "Force": True})

    async def holders(self, network: str) -> tuple[Holder, ...]:
        """Return the containers, also stopped ones, with a network in their configuration.

        Args:
            network: The network's name; by its ID the engine leaves out containers that never ran.
        """
        async with _call(f"list containers on network {network}", DEADLINE):
            found = await self.engine.docker.containers.list(
                all=True, filters={"network": [network]}
            )
            return tuple(_holder(each._container) for each in found)  # noqa: SLF001 - its only way
        raise AssertionError  # `_call` swallows nothing

    def _container(self, container: str) -> DockerContainer:
        return self.engine.docker.containers.container(container)

    def _network(self, network: str) -> DockerNetwork:
        return DockerNetwork(self.engine.docker, network)  # type: ignore[no-untyped-call] # aiodocker's


def _holder(listed: Mapping[str, Any]) -> Holder:
    names: Iterable[str] = listed.get("Names") or ()
    name = next((each.removeprefix("/") for each in names if each.count("/") == 1), "")
    return Holder(str(listed["Id"]), name, listed.get("State") in ("running", "paused"))


@asynccontextmanager
async def _call(what: str, deadline: float) -> AsyncIterator[None]:
    """Give a call a deadline, and translate its failure."""
    try:
        with anyio.fail_after(deadline):
            yield
    except DockerError as error:
        if error.status == _NOT_FOUND:
            raise NotFoundError(f"{what}: {error.message}") from error
        if error.status == _NO_CONNECTION:
            raise EngineGoneError(f"{what}: {error.message}") from error
        raise EngineFailedError(f"{what}: {error.message}") from error
    except TimeoutError as error:
        raise EngineFailedError(f"{what}: no answer within {deadline:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise EngineGoneError(f"{what}: {error or type(error).__name__}") from error
    except (AssertionError, LookupError, RuntimeError, ValueError, tarfile.TarError) as error:
        if _is_ours(error):
            raise
        # aiodocker does not check an answer's shape.
        kind = type(error).__name__
        raise EngineFailedError(f"{what}: unexpected response body ({kind}: {error})") from error


def _is_ours(error: BaseException) -> bool:
    """Whether relinkd's code raised an error, not a library that reads an answer."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    name = frame.tb_frame.f_globals.get("__name__", "") if frame is not None else ""
    return str(name).partition(".")[0] in ("reconciler", "watchers")


def _archive(path: str, below: str, data: bytes, mode: int) -> bytes:
    """Return a tar archive of one file; the engine makes the folders above it."""
    target = PurePosixPath(path).relative_to(below)
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        file = tarfile.TarInfo(str(target))
        file.size, file.mode = len(data), mode
        archive.addfile(file, io.BytesIO(data))
    return written.getvalue()
