"""Everything that changes something at the engine. Built only where `--allow` asks for it.

By aiodocker's own calls, over the observer's connection. aiodocker lets five kinds of errors
through and has no deadline of its own (0.27): here each call has one, and every failure is one of
watchers/errors.py's.
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
"""Seconds between two looks whether a command whose output has ended has, too."""
_MOST_OUTPUT = 4096
"""Bytes of a command's output that are kept: enough to say why it failed."""
_MOST_READ = 1024 * 1024
"""Bytes of a file's archive that are read."""
_AS_ANOTHER = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LD_PRELOAD": "",
    "LD_LIBRARY_PATH": "",
}
"""Variables of a command that runs as another user than the container's own.

The image's own may lead to folders of that user's, and what lies there would become root's."""
_NOT_FOUND = 404
_NO_CONNECTION = 900
"""What aiodocker calls a status when there was none."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command in a container ended."""

    code: int
    output: str
    """The first 4 KiB of stdout and stderr; the engine's own message where it could not begin."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A container that has a network in its configuration."""

    id: str
    name: str
    running: bool


class Acting:
    """The acting half of one connected engine.

    Every call raises `NotFoundError` (no such container or network), `EngineFailedError` (refused
    or too slow, in the engine's words) or `EngineGoneError` (out of reach), and nothing else.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def run(
        self,
        container: str,
        argv: Sequence[str],
        *,
        user: str = "",
        stdin: bytes = b"",
        deadline: float = DEADLINE,
    ) -> Ran:
        """Run a command in a running container as its own user or another: no shell.

        The engine refuses it in paused containers, and in `--link` recipients with a source down.
        A command that is still at it after `deadline` seconds goes on by itself. It must know how
        many bytes `stdin` has: their end is told to it only when all is over.
        """
        async with _call(f"exec in {container[:12]}", deadline):
            begun = await self._container(container).exec(
                [*argv], user=user, environment=_AS_ANOTHER if user else None, stdin=bool(stdin)
            )
            output = bytearray()
            async with begun.start(detach=False) as stream:
                if stdin:
                    # One that could not begin takes none; how it ended says so below.
                    with suppress(AssertionError, aiohttp.ClientError, OSError):
                        await stream.write_in(stdin)
                while (part := await stream.read_out()) is not None:
                    output += part.data[: _MOST_OUTPUT - len(output)]
            # The stream may end before the command, or before the engine has noted its end.
            while (ended := await begun.inspect()).get("Running"):  # noqa: ASYNC110 - it tells nobody
                await anyio.sleep(NOTED)
            code = ended.get("ExitCode")
            return Ran(code if isinstance(code, int) else -1, output.decode(errors="replace"))

    async def put_file(
        self, container: str, path: str, data: bytes, *, below: str = "/", mode: int = 0o644
    ) -> None:
        """Put a file of root's into a container, running or not, and the folders above it.

        One that is there is unlinked first: readers find none for a moment (engines 20 to 29); a
        folder of that name is left, with a failure. On a read-only root the engine refuses all but
        what is put `below` a writable mount, named so.
        """
        async with (
            _call(f"put {path} into {container[:12]}", DEADLINE),
            # Not put_archive, which cannot say this; the engine then removes a folder, and all in
            # it, for a file.
            self.engine.docker._query(  # noqa: SLF001
                f"containers/{container}/archive",
                method="PUT",
                params={"path": below, "noOverwriteDirNonDir": "1"},
                data=_archive(path, below, data, mode),
                headers={"Content-Type": "application/x-tar"},
            ) as response,
        ):
            await response.read()

    async def get_file(self, container: str, path: str) -> bytes | None:
        """Return a file of a container's, running or not; None where there is none.

        Of more than a mebibyte the first one: containers put there what they like.
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
            raise EngineFailedError(f"{path} of {container[:12]} is no plain file")
        return bytes(archive[member.offset_data :][: member.size])

    async def restart(self, container: str) -> None:
        """Restart a container within its own stop time-out."""
        async with _call(f"restart {container[:12]}", RESTART_DEADLINE):
            await self._container(container).restart(timeout=aiohttp.ClientTimeout())

    async def create_network(
        self, name: str, subnets: Sequence[str], labels: Mapping[str, str]
    ) -> str:
        """Create an internal bridge network, of IPv6 too where a subnet is; return its ID."""
        config = {
            "Name": name,
            "CheckDuplicate": True,  # 20 and 26 take a name twice otherwise
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
        """Put a container, running or not, onto a network."""
        async with _call(f"connect {container[:12]} to network {network[:12]}", DEADLINE):
            await self._network(network).connect({"Container": container})

    async def leave(self, network: str, container: str) -> None:
        """Take a container off a network, which may be gone already: then by its name."""
        async with _call(f"disconnect {container[:12]} from network {network[:12]}", DEADLINE):
            await self._network(network).disconnect({"Container": container, "Force": True})

    async def holders(self, network: str) -> tuple[Holder, ...]:
        """Return who has a network in its configuration, stopped ones too, by the network's name.

        By its ID the engine leaves out those that never ran.
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
        return DockerNetwork(self.engine.docker, network)  # type: ignore[no-untyped-call]


def _holder(listed: Mapping[str, Any]) -> Holder:
    names: Iterable[str] = listed.get("Names") or ()
    name = next((each.removeprefix("/") for each in names if each.count("/") == 1), "")
    return Holder(str(listed["Id"]), name, listed.get("State") in ("running", "paused"))


@asynccontextmanager
async def _call(what: str, deadline: float) -> AsyncIterator[None]:
    """Give a call a deadline, and its failure a name."""
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
        # aiodocker takes an answer's shape for granted.
        raise EngineFailedError(f"{what}: an answer not understood: {error!r}") from error


def _archive(path: str, below: str, data: bytes, mode: int) -> bytes:
    """Return a tar archive of one file; the engine makes the folders above it."""
    target = PurePosixPath(path).relative_to(below)
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        file = tarfile.TarInfo(str(target))
        file.size, file.mode = len(data), mode
        archive.addfile(file, io.BytesIO(data))
    return written.getvalue()
