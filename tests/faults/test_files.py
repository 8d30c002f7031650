"""Hosts files that cannot be written, are no files, or belong to somebody else as well.

A real relinkd beside the fake engine: what happens to a file is the kernel's doing.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine.stack import Daemon, Stack, resolve, until
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.xdist_group("hosts files")  # one relinkd for most of them
root_alone = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change flags and mount")
BEGIN, END = "# relinkd begin\n", "# relinkd end\n"


@dataclass
class Scene:
    """One source, a recipient whose file suffers, and another that must not."""

    stack: Stack
    relinkd: Daemon
    db: str = ""
    web: str = ""
    other: str = ""

    @property
    def file(self) -> Path:
        return self.stack.hosts_path(self.web)

    def log(self, event: str) -> list[dict[str, Any]]:
        """Return what was logged of the recipient whose file suffers."""
        return self.relinkd.log(event, recipient=self.stack.name("web"))

    def failures(self) -> list[str]:
        return [line["reason"] for line in self.log("delivery.failed")]

    def await_links(self) -> None:
        for recipient in (self.web, self.other):
            self.stack.await_lookup(recipient, "db", self.stack.address(self.db))

    def move(self) -> str:
        """Have the source come back at another address; the other recipient follows it."""
        self.stack.client.stop(self.db)
        squatter = self.stack.run(f"squatter{time.monotonic_ns()}")
        assert squatter
        self.stack.client.start(self.db)
        address = self.stack.address(self.db)
        self.stack.await_lookup(self.other, "db", address)
        return address


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeEngine, Daemon]]:
    """Return the engine and the relinkd of all tests that need none of their own."""
    folder = tmp_path_factory.mktemp("relinkd")
    with (
        FakeEngine("28", socket=folder / "docker.sock", root=folder) as fake,
        closing(_daemon(fake, folder)) as relinkd,
    ):
        relinkd.start()
        yield fake, relinkd


@pytest.fixture
def scene(kept: tuple[FakeEngine, Daemon]) -> Iterator[Scene]:
    fake, relinkd = kept
    scene = _begin(fake, relinkd)
    scene.await_links()
    yield scene
    scene.file.write_text("127.0.0.1\tlocalhost\n")  # the fake engine reads text, no bytes
    fake.client.sweep(scene.stack.prefix)


def _daemon(fake: FakeEngine, folder: Path) -> Daemon:
    return Daemon(fake.socket, fake.containers_dir, folder, "--resync=1s", recorded=False)


def _begin(fake: FakeEngine, relinkd: Daemon) -> Scene:
    scene = Scene(Stack(fake.client, fake.containers_dir, relinkd), relinkd)
    scene.db = scene.stack.run("db")
    scene.web, scene.other = scene.stack.run("web", "db"), scene.stack.run("other", "db")
    return scene


@contextmanager
def _scene(
    fake: FakeEngine, folder: Path, *, within: Sequence[str] = (), read_only: bool = False
) -> Iterator[Scene]:
    """Have a relinkd of one's own, in less than the whole machine."""
    with closing(_daemon(fake, folder)) as relinkd:
        relinkd.within = [*within]
        relinkd.start()
        scene = _begin(fake, relinkd)
        if not read_only:
            scene.await_links()
        yield scene


def _right_again(scene: Scene, address: str) -> None:
    scene.stack.await_lookup(scene.web, "db", address)
    text = scene.stack.hosts(scene.web)
    assert text.count(BEGIN) == text.count(END) == 1


def _immutable(scene: Scene, on: bool) -> None:
    subprocess.run(["chattr", "+i" if on else "-i", scene.file], check=True)


@root_alone
def test_a_file_that_is_immutable_is_written_once_it_is_not(scene: Scene) -> None:
    _immutable(scene, on=True)
    try:
        for _ in range(3):  # what a try logs is there before the next one
            address = scene.move()
        until(scene.failures, "the failure to be told")
        assert len(scene.failures()) == 1  # once, however often it is tried
        assert scene.stack.state("web", "db")["state"] == "failed"
    finally:
        _immutable(scene, on=False)
    _right_again(scene, address)
    until(lambda: scene.log("delivery.resumed"))


@root_alone
def test_a_mount_that_is_read_only_is_told_of_and_written_once_it_is_not(
    fake: FakeEngine, tmp_path: Path
) -> None:
    folder = fake.containers_dir
    mount = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"
    within = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    with _scene(fake, tmp_path, within=within, read_only=True) as scene:
        until(scene.failures, "the failure to be told")
        (reason,) = scene.failures()
        assert "Read-only file system" in reason
        assert scene.relinkd.process is not None
        pid = str(scene.relinkd.process.pid)
        again = ["mount", "-o", "remount,bind,rw", str(folder)]
        subprocess.run(["nsenter", "-t", pid, "-m", *again], check=True)
        _right_again(scene, scene.stack.address(scene.db))


@root_alone
def test_no_space_left_takes_nothing_that_stands(fake: FakeEngine, tmp_path: Path) -> None:
    mount = fake.containers_dir
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", mount], check=True)
    try:
        with _scene(fake, tmp_path) as scene:
            late = scene.stack.create(
                "late", "db " + " ".join(f"db:n{each}" for each in range(400))
            )
            ballast = mount / "ballast"
            free = os.statvfs(mount)
            # A page for each of the two files that the engine makes, and one that is too little.
            ballast.write_bytes(b"x" * (free.f_bavail - 3) * free.f_bsize)
            address = scene.move()
            _right_again(scene, address)  # a slot needs no space
            scene.stack.client.start(late)
            name = scene.stack.name("late")
            until(lambda: scene.relinkd.log("delivery.failed", recipient=name), "no space")
            (said,) = scene.relinkd.log("delivery.failed", recipient=name)
            assert "No space left" in said["reason"]
            assert resolve(scene.stack.hosts(late), "localhost") == ["127.0.0.1", "::1"]
            ballast.unlink()
            scene.stack.await_lookup(late, "n399", address)
            assert scene.stack.hosts(late).count(BEGIN) == 1
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def _directory(path: Path) -> None:
    path.mkdir()


def _symlink(path: Path) -> None:
    (path.parent / "elsewhere").write_text("127.0.0.1\tlocalhost\n")
    path.symlink_to("elsewhere")


def _hard_link(path: Path) -> None:
    (path.parent / "elsewhere").write_text("127.0.0.1\tlocalhost\n")
    path.hardlink_to(path.parent / "elsewhere")


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _large(path: Path) -> None:
    path.write_text("127.0.0.1\tlocalhost\n" + "# x\n" * 2_500_000)


def _many_lines(path: Path) -> None:
    path.write_text("127.0.0.1\tlocalhost\n" + "\n" * 5_000)


@pytest.mark.parametrize(
    "become",
    [_directory, _symlink, _hard_link, _fifo, _large, _many_lines],
    ids=lambda f: f.__name__,
)
def test_what_is_no_hosts_file_is_not_touched_and_told_of(
    scene: Scene, become: Callable[[Path], None]
) -> None:
    kept = scene.file.with_name("kept")
    scene.file.rename(kept)
    become(scene.file)
    elsewhere = scene.file.with_name("elsewhere")
    before = elsewhere.read_bytes() if elsewhere.exists() else b""
    size = scene.file.lstat().st_size
    address = scene.move()
    until(scene.failures, "the failure to be told")
    assert len(set(scene.failures())) == len(scene.failures()) == 1
    assert scene.file.lstat().st_size == size
    assert not before or elsewhere.read_bytes() == before
    if scene.file.is_dir():
        scene.file.rmdir()
    else:
        scene.file.unlink()
    elsewhere.unlink(missing_ok=True)
    kept.rename(scene.file)
    _right_again(scene, address)


def test_a_file_that_is_gone_for_a_while(scene: Scene) -> None:
    kept = scene.file.with_name("kept")
    scene.file.rename(kept)
    address = scene.move()
    kept.rename(scene.file)
    _right_again(scene, address)


@pytest.mark.parametrize(
    "outside",
    [
        b"127.0.0.1\tlocalhost\r\n10.0.0.1\tcr\r\n",
        b"127.0.0.1\tlocalhost\n\xff\xfe\x00latin \xe9\n",
        b"127.0.0.1\tlocalhost\n# end without a newline",
        b"127.0.0.1\tlocalhost\n\n\n\t\n   10.0.0.1   by-hand   # said so\n",
        b"127.0.0.1\tlocalhost\n# relinkd end\n# relinkd begin\n",
        b"127.0.0.1\tlocalhost\n# relinkd begin\n# of somebody else\n",
        b"127.0.0.1\tlocalhost\n# relinkd begin\n# relinkd begin\n10.9.9.9 x\n# relinkd end\n",
        b"127.0.0.1\tlocalhost\n# relinkd begin\n# relinkd end\n# relinkd begin\n# relinkd end\n",
        b"127.0.0.1\tlocalhost\n# relinkd end\n10.0.0.1\tbetween\n",
    ],
)
def test_what_others_write_stays_and_the_link_is_there_once(scene: Scene, outside: bytes) -> None:
    with scene.file.open("r+b") as file:
        file.truncate()
        file.write(outside)
    address = scene.stack.address(scene.db)
    until(lambda: resolve(scene.stack.hosts(scene.web), "db") == [address], "the link")
    address = scene.move()
    scene.stack.await_lookup(scene.web, "db", address)
    text = scene.file.read_bytes()
    foreign = [line for line in outside.splitlines() if b"relinkd" not in line and line.strip()]
    kept = [line for line in foreign if not line.startswith(b"10.9.9.9")]  # inside a block of ours
    at = [text.index(line) for line in kept]
    assert at == sorted(at)
    live = [line for line in text.splitlines() if line.split()[1:2] == [b"db"]]
    assert len(live) == 1


def test_half_a_block_is_nobodys_and_its_lines_are_left(scene: Scene) -> None:
    outside = "127.0.0.1\tlocalhost\n# relinkd begin\n10.9.9.9\tdb\n"
    with scene.file.open("r+") as file:
        file.truncate()
        file.write(outside)
    until(lambda: scene.stack.state("web", "db")["state"] == "shadowed", "the state")
    assert "10.9.9.9" in scene.stack.state("web", "db")["reason"]
    scene.move()
    assert scene.stack.hosts(scene.web).startswith(outside)


def test_an_edit_outside_the_block_stays_and_one_inside_is_put_back(scene: Scene) -> None:
    address = scene.stack.address(scene.db)
    text = scene.stack.hosts(scene.web)
    with scene.file.open("r+") as file:
        file.write("10.0.0.9\tby-hand\n" + text.replace(f"{address:15} db", "10.66.66.66     db"))
    scene.stack.await_lookup(scene.web, "db", address)
    assert scene.stack.lookup(scene.web, "by-hand") == ["10.0.0.9"]
    with scene.file.open("a") as file:
        file.write("10.0.0.8\tlast\n")
    moved = scene.move()
    _right_again(scene, moved)
    assert scene.stack.lookup(scene.web, "by-hand") == ["10.0.0.9"]
    assert scene.stack.lookup(scene.web, "last") == ["10.0.0.8"]


def test_a_rewrite_at_the_same_moment_loses_nothing_of_the_engines(scene: Scene) -> None:
    """As dockerd does it: truncate, a while, write; no lock taken."""
    base = scene.stack.hosts(scene.web).partition(BEGIN)[0].encode()
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            scene.stack.client.restart(scene.db)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        damaged = 0
        for turn in range(150):
            mine = base + b"10.1.0.%d\tturn\n" % (turn % 250)
            descriptor = os.open(scene.file, os.O_WRONLY | os.O_TRUNC)
            time.sleep(0.001)
            os.write(descriptor, mine)
            os.close(descriptor)
            time.sleep(0.004)
            damaged += not scene.file.read_bytes().startswith(mine)
    finally:
        stop.set()
        thread.join()
    assert damaged == 0
    _right_again(scene, scene.stack.address(scene.db))


def test_an_editor_that_writes_in_a_loop_is_answered_less_and_told_of_once(scene: Scene) -> None:
    plain = scene.stack.hosts(scene.web).partition(BEGIN)[0].encode()
    repairs = 0
    for _ in range(150):
        with scene.file.open("r+b") as file:
            file.truncate()
            file.write(plain)
        until_ns = time.monotonic() + 0.01
        while time.monotonic() < until_ns and BEGIN not in scene.stack.hosts(scene.web):
            time.sleep(0.001)
        repairs += BEGIN in scene.stack.hosts(scene.web)
    assert 5 <= repairs <= 30
    assert len(scene.log("file.fought")) == 1
    # A change of a source waits for nothing, and the file is right once the editor ends.
    address = scene.move()
    _right_again(scene, address)


def test_without_inotify_watches_every_resync_looks(fake: FakeEngine, tmp_path: Path) -> None:
    limit = "echo 1 > /proc/sys/user/max_inotify_watches"
    within = ["unshare", "--user", "--map-root-user", "sh", "-c", f'{limit}; exec "$@"', "sh"]
    with _scene(fake, tmp_path, within=within) as scene:
        until(lambda: scene.relinkd.log("watches.limited"), "the limit to be told")
        address = scene.stack.address(scene.db)
        for recipient in (scene.web, scene.other):
            path = scene.stack.hosts_path(recipient)
            text = path.read_text().replace(f"{address:15} db", "10.66.66.66     db")
            with path.open("r+") as file:
                file.write(text)
        for recipient in (scene.web, scene.other):
            scene.stack.await_lookup(recipient, "db", address)
        assert len(scene.relinkd.log("watches.limited")) == 1
