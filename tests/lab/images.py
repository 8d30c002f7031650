"""The images of the lab; no registry is ever asked."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.base import cache, locked, run, say
from tests.lab.packages import HOME_RELEASE, machine_source, prefix

if TYPE_CHECKING:
    from tests.lab.client import Client
    from tests.lab.engines import Engine

PYTHON_BASE = "relinkd-base:latest"
_PYTHON_PACKAGES = "python3-minimal,python3-venv,ca-certificates"


def _file(name: str, content: bytes, mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    return info, content


def _folder(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    return info, b""


def _link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info, b""


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _busybox() -> Path:
    return next(prefix("tools").glob("**/bin/busybox"))


def busybox() -> bytes:
    """Return a root file system with busybox under the name of each of its applets."""
    applets = run([_busybox(), "--list-full"]).split()
    return _tar(
        _folder("etc"),
        _folder("root", 0o700),
        _folder("tmp", 0o1777),
        _folder("var"),
        _file("etc/passwd", b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"),
        _file("etc/group", b"root:x:0:\nnogroup:x:65534:\n"),
        _file("bin/busybox", _busybox().read_bytes(), 0o755),
        *(_link(applet, "/bin/busybox") for applet in applets if applet != "bin/busybox"),
    )


def single() -> bytes:
    """Return a root file system of one static binary: no shell, no other command, no library."""
    return _tar(_file("sleep", _busybox().read_bytes(), 0o755))


def load(client: Client) -> None:
    """Give an engine the images that every test may use."""
    client.import_image("busybox:latest", busybox(), changes=['CMD ["sleep","1000000"]'])
    client.import_image("single:latest", single(), changes=['CMD ["/sleep","1000000"]'])


def python_base(engine: Engine) -> str:
    """Give an engine a Debian with Python, to build the sidecar's image on; return its name."""
    engine.docker("import", python_base_tar(), PYTHON_BASE, timeout=300)
    return PYTHON_BASE


def python_base_tar() -> Path:
    """Return the archive of a Debian with Python, made when it is not there."""
    ready = cache() / f"python-base-{HOME_RELEASE}.tar"
    if ready.exists():
        return ready
    tools = prefix("tools")
    with locked(cache() / "lock"), tempfile.TemporaryDirectory(dir=cache()) as folder:
        if ready.exists():
            return ready
        say("building a Debian with Python (a minute) …")
        source = machine_source()
        tree, archive = Path(folder, "tree"), Path(folder, "tar")
        keyring = [f"--keyring={source.signed_by}"] if source.signed_by else []
        run(
            [
                tools / "usr/sbin/debootstrap",
                *keyring,
                "--variant=minbase",
                f"--include={_PYTHON_PACKAGES}",
                HOME_RELEASE,
                tree,
                source.uri,
            ],
            env={"DEBOOTSTRAP_DIR": str(tools / "usr/share/debootstrap")},
        )
        run(
            [
                "tar",
                f"--directory={tree}",
                "--exclude=./var/cache/apt/*",
                "--exclude=./var/lib/apt/lists/*",
                "--create",
                f"--file={archive}",
                ".",
            ]
        )
        archive.rename(ready)
    return ready
