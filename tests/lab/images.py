"""The images of the lab; no registry is ever asked."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.base import cache, locked, run, say
from tests.lab.packages import HOME_RELEASE, machine_source, prefix

if TYPE_CHECKING:
    from tests.lab.client import Client

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
    return _tar(*_busybox_tree())


def _busybox_tree() -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    applets = run([_busybox(), "--list-full"]).split()
    yield from (
        _folder("etc"),
        _folder("root", 0o700),
        _folder("tmp", 0o1777),
        _folder("var"),
        _file("etc/passwd", b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"),
        _file("etc/group", b"root:x:0:\nnogroup:x:65534:\n"),
        _file("bin/busybox", _busybox().read_bytes(), 0o755),
        *(_link(applet, "/bin/busybox") for applet in applets if applet != "bin/busybox"),
    )


def nginx() -> bytes:
    """Return busybox's root file system with Debian's nginx and its libraries in it."""
    made = prefix("nginx")
    libraries = (*made.glob("**/lib/*-linux-gnu/*.so*"), *made.glob("lib*/ld-linux*"))
    return _tar(
        *_busybox_tree(),
        _folder("run"),
        _folder("var/lib/nginx"),
        _folder("var/log/nginx"),
        _file("etc/nsswitch.conf", b"hosts: files dns\n"),
        *(_copy(made, each) for each in (made / "usr/sbin/nginx", *libraries)),
    )


def _copy(root: Path, file: Path) -> tuple[tarfile.TarInfo, bytes]:
    name = str(file.relative_to(root))
    if file.is_symlink():
        return _link(name, str(file.readlink()))
    return _file(name, file.read_bytes(), 0o755)


def single() -> bytes:
    """Return a root file system of one static binary: no shell, no other command, no library."""
    return _tar(_file("sleep", _busybox().read_bytes(), 0o755))


def load(client: Client) -> None:
    """Give an engine the images that every test may use."""
    client.import_image("busybox:latest", busybox(), changes=['CMD ["sleep","1000000"]'])
    client.import_image("single:latest", single(), changes=['CMD ["/sleep","1000000"]'])


def load_nginx(client: Client) -> str:
    """Give an engine a server that keeps the address of its upstream; return the image's name."""
    name = "nginx:latest"
    if client.raw("GET", f"/images/{name}/json")[0] != HTTPStatus.OK:
        client.import_image(name, nginx(), changes=['ENTRYPOINT ["nginx"]'])
    return name


def python_base_tar() -> Path:
    """Return the archive of a Debian with Python, made when it is not there.

    Like the official Python images it has no bytecode of the standard library.
    """
    ready = cache() / f"python-base-{HOME_RELEASE}-without-bytecode.tar"
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
                "--exclude=__pycache__",
                "--create",
                f"--file={archive}",
                ".",
            ]
        )
        archive.rename(ready)
    return ready
