# ruff: noqa: S603, T201 - says what it prepares, and starts the docker command
"""The engine that the demo shows things on, and the image of its containers."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

from deploy.demo.errors import DemoError
from tests.lab import images
from tests.lab.client import ApiError, Client
from tests.lab.engines import VERSIONS, LabError, engine
from tests.lab.packages import require_machine

IMAGE = "relinkd-demo:latest"


@dataclass(frozen=True)
class Target:
    """The engine to show things on."""

    socket: Path
    containers: Path
    title: str

    @property
    def client(self) -> Client:
        """A client of its API, which shares no code with relinkd."""
        return Client(self.socket)


def address_of_own_engine() -> str:
    """Return the address that the docker command would use."""
    if host := os.environ.get("DOCKER_HOST"):
        return host
    if docker := shutil.which("docker"):
        ask = [docker, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
        found = subprocess.run(ask, check=False, capture_output=True, text=True).stdout.strip()
        if found:
            return found
    rootless = Path(os.environ.get("XDG_RUNTIME_DIR", "/nowhere"), "docker.sock")
    return f"unix://{rootless if rootless.exists() else '/var/run/docker.sock'}"


def own_engine() -> Target:
    """Return the engine of this machine.

    Raises:
        DemoError: No engine answers, or the demo may not use its files.
    """
    address = address_of_own_engine()
    scheme, _, path = address.partition("://")
    if scheme != "unix":
        raise DemoError(f"The engine at {address} is reached through a network: its files are not")
    client = Client(Path(path), timeout=5)
    try:
        root, version = client.info()["DockerRootDir"], client.version()["Version"]
    except PermissionError:
        raise DemoError(f"You may not use the engine at {address} (sudo make demo could)") from None
    except (OSError, ApiError):
        raise DemoError(f"No engine answers at {address}") from None
    containers = Path(root, "containers")
    if not os.access(containers, os.R_OK | os.W_OK | os.X_OK):
        raise DemoError(
            f"An engine answers at {address}, but its directory {containers} cannot be used from"
            " here (sudo make demo could)"
        )
    return Target(Path(path), containers, f"your Docker {version}")


@contextmanager
def some_engine() -> Iterator[Target]:
    """Yield this machine's engine, or a private one."""
    with ExitStack() as stack:
        try:
            target = own_engine()
        except DemoError as reason:
            print(f"{reason}.")
            print("Preparing a private one (some minutes the first time, then seconds) ...\n")
            target = private_engine(stack)
        yield target


def private_engine(stack: ExitStack) -> Target:
    """Start a private engine, of the first version that is to be had."""
    try:
        require_machine()
        for key in sorted(VERSIONS, reverse=True):
            try:
                made = stack.enter_context(engine(key))
            except LabError as error:
                print(f"Not Docker {VERSIONS[key]}x: {error}")
            else:
                return Target(made.socket, made.containers_dir, f"a private Docker {made.version}")
    except LabError as error:
        raise DemoError(str(error)) from error
    raise DemoError("No private engine could be made; start Docker and try again")


@contextmanager
def busybox(target: Target) -> Iterator[str]:
    """Yield the name of an image with busybox; what was not there before is removed again."""
    client = target.client
    if client.raw("GET", "/images/busybox:latest/json")[0] == HTTPStatus.OK:
        yield "busybox"
        return
    print("There is no busybox image here: getting one for the demo ...")
    try:
        client.import_image(IMAGE, images.busybox())
    except LabError:  # not a machine that the lab can prepare; one with a registry, then
        query = urlencode({"fromImage": "busybox", "tag": "latest"})
        client.raw("POST", f"/images/create?{query}")
        query = urlencode({"repo": IMAGE.partition(":")[0], "tag": "latest"})
        status, _ = client.raw("POST", f"/images/busybox:latest/tag?{query}")
        if status != HTTPStatus.CREATED:
            raise DemoError("The engine could not pull busybox: docker pull it yourself") from None
        client.raw("DELETE", "/images/busybox:latest")
    try:
        yield IMAGE
    finally:
        client.raw("DELETE", f"/images/{IMAGE}?force=true")
