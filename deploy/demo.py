# ruff: noqa: INP001, S603, T201 - a script with something to say, which starts commands
"""`make demo`: what relinkd does for a link, on a real engine, seen from outside relinkd.

It runs on your engine if one answers here, else on a private one of tests/lab. What is said to be
seen was read from the recipient's hosts file, from the engine's events, and from what containers
answered; relinkd's own word is asked for at the end alone.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlencode

from asyncinotify import Inotify, Mask

from tests.lab import images
from tests.lab.client import ApiError, Client
from tests.lab.engines import VERSIONS, LabError, engine
from tests.lab.packages import require_machine

PREFIX = "relinkd-demo-"
DB, WEB, PLAIN, STRANGER = (f"{PREFIX}{name}" for name in ("db", "web", "plain", "stranger"))
IMAGE = "relinkd-demo:latest"
ALIAS = "db"
PATIENCE = 10.0
"""Seconds after which what was not seen did not happen."""
STRANGE = "I am a stranger"
STRANGERS = 8
"""Containers started until one is given the address that db left."""
TRIES = 5
"""On a machine that is busy with other things nobody is always in time; what was late is told."""


class DemoError(Exception):
    """The demo cannot go on; the text says why and what would help."""


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


# -- finding an engine -----------------------------------------------------------------------------


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
        DemoError: there is none, or it cannot be used from here.
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


# -- what is seen ----------------------------------------------------------------------------------


def addresses(hosts: str, name: str) -> frozenset[str]:
    """Return the addresses that a hosts file gives for a name."""
    lines = [line.partition("#")[0].split() for line in hosts.splitlines()]
    return frozenset(words[0] for words in lines if name in words[1:])


class Witness:
    """Notes when a hosts file came to name whom, and when db ran its first instruction.

    Both are told by one inotify instance and so in their true order. The file's time is that after
    it was read, so later than true if anything.
    """

    def __init__(self, folder: Path) -> None:
        """Look on `folder`, into whose file `db` the container db writes as its first act."""
        self.named: list[tuple[int, frozenset[str]]] = []
        self.first: list[int] = []
        self._hosts = Path()
        self._over = threading.Event()
        self._inotify = Inotify(sync_timeout=0.1)
        self._folder = self._inotify.add_watch(folder, Mask.MODIFY)
        self._thread = threading.Thread(target=self._look, daemon=True)

    def watch(self, hosts: Path) -> None:
        """Look on a hosts file too."""
        self._hosts = hosts
        self._inotify.add_watch(hosts, Mask.MODIFY)
        self._read()
        self._thread.start()

    def text(self) -> str:
        """Return what the hosts file says now."""
        return self._hosts.read_text(encoding="utf-8")

    def now(self) -> frozenset[str]:
        """Return whom the hosts file names db now."""
        return addresses(self.text(), ALIAS)

    def since(self, time_ns: int) -> frozenset[str]:
        """Return everybody whom the hosts file named db at some time since then."""
        before = [named for at, named in self.named if at < time_ns]
        after = [named for at, named in self.named if at >= time_ns]
        return frozenset().union(*before[-1:], *after)

    def came(self, who: frozenset[str]) -> int:
        """Return since when the hosts file has named these alone.

        Raises:
            DemoError: it does not.
        """
        until(lambda: bool(self.named) and self.named[-1][1] == who, "web's hosts file is right")
        return self.named[-1][0]

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._inotify.close()

    def _look(self) -> None:
        while not self._over.is_set():
            event = self._inotify.sync_get()
            if event is None:
                continue
            if event.watch is self._folder:
                self.first.append(time.time_ns())
            else:
                self._read()

    def _read(self) -> None:
        who = self.now()
        if not self.named or self.named[-1][1] != who:
            self.named.append((time.time_ns(), who))


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds.

    Raises:
        DemoError: it does not in good time.
    """
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise DemoError(f"Not in {PATIENCE:.0f} seconds: {what}")
        time.sleep(0.005)


class Story:
    """Tells what happens and what was seen, and counts what was not."""

    def __init__(self) -> None:
        """Begin with nothing failed."""
        self.failed = 0
        self._scenes = 0

    def scene(self, title: str) -> None:
        """Begin a step."""
        self._scenes += 1
        print(f"\n{self._scenes}. {title}")

    def command(self, text: str) -> None:
        """Show a command that does what is done now."""
        print(f"   $ {text}")

    def quote(self, text: str, *, where: str) -> None:
        """Show somebody else's words."""
        print(f"   {where}:")
        print(textwrap.indent(text.rstrip("\n"), "     | "))

    def saw(self, what: str, holds: bool) -> None:  # noqa: FBT001 - reads as a sentence
        """Tell what was to be seen, and whether it was."""
        self.failed += not holds
        head = "   ok      " if holds else "   FAILED  "
        print(textwrap.fill(what, 96, initial_indent=head, subsequent_indent=" " * 11))

    def late(self, what: str) -> None:
        """Tell that something held, but not in time, and is tried again."""
        print(f"   late    by {what}")

    def aside(self, what: str) -> None:
        """Tell what happens without relinkd."""
        head = "   (plain --link: "
        print(textwrap.fill(f"{what})", 96, initial_indent=head, subsequent_indent=" " * 4))


# -- the demo --------------------------------------------------------------------------------------


class Demo:
    """The scenes, in order."""

    def __init__(self, target: Target, image: str, folder: Path, story: Story) -> None:
        """Prepare: nothing is started yet."""
        self._target = target
        self._client = target.client
        self._image = image
        self._seen = folder / "seen"
        self._seen.mkdir(mode=0o777)
        self._seen.chmod(0o777)  # db writes here, whoever its root is on this machine
        # No name server for who asks: the hosts file alone shall answer, and nobody waits for one.
        self._resolv = folder / "resolv.conf"
        self._resolv.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        self._run_dir = folder / "run"
        self._log = folder / "log"
        self._story = story
        self._witness = Witness(self._seen)
        self._relinkd: subprocess.Popen[bytes] | None = None

    def play(self) -> None:
        """Play all scenes."""
        self._start_relinkd()
        self._web_first()
        address = self._db_comes()
        self._stranger_moves_in(address)
        self._db_moves(address)
        self._db_is_recreated()
        self._relinkd_explains()

    def close(self) -> None:
        """Stop relinkd and remove every container of the demo."""
        self._witness.close()
        if self._relinkd is not None:
            self._relinkd.terminate()
            try:
                self._relinkd.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._relinkd.kill()
        self._client.sweep(PREFIX)

    # -- scenes

    def _start_relinkd(self) -> None:
        story = self._story
        story.scene("relinkd starts. It asks the engine with GET alone, and stores nothing.")
        story.command("relinkd run")
        # Labels alone: what else is linked on this engine is its owner's, and no demo's.
        command = [*self._command("run"), "--declared-by", "label"]
        with self._log.open("wb") as log:
            self._relinkd = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment(), start_new_session=True
            )
        until(self._is_well, f"relinkd is well; it said: {self._log.read_text()}")
        story.saw("it found the engine", holds=True)

    def _web_first(self) -> None:
        story = self._story
        story.scene("web starts. It is linked to a db that does not exist yet.")
        story.command(f"docker run -d --name {WEB} --label relinkd.links={DB}:{ALIAS} busybox")
        labels = {"relinkd.links": f"{DB}:{ALIAS}"}
        web = self._client.run(
            WEB,
            image=self._image,
            cmd=["sleep", "1000"],
            labels=labels,
            binds=[f"{self._resolv}:/etc/resolv.conf:ro"],
        )
        try:
            self._witness.watch(self._target.containers / web / "hosts")
        except OSError as error:
            raise DemoError(
                f"{error.filename} cannot be read ({error.strerror}): {self._target.containers} is"
                " not the directory of the engine at this socket"
            ) from error
        until(lambda: "# relinkd begin" in self._witness.text(), "web's file has a place for db")
        story.quote(tail(self._witness.text()), where=f"the end of /etc/hosts in {WEB}")
        story.saw("a place is kept for db, and the name means nobody", not self._witness.now())

    def _db_comes(self) -> str:
        story = self._story
        story.scene("db starts for the first time. Its first act is to note the time.")
        story.command(f"docker run -d --name {DB} busybox ...")
        address = self._start_and_see(self._run_db, lambda: self._client.remove(DB))
        story.quote(tail(self._witness.text()), where=f"the end of /etc/hosts in {WEB}")
        self._see_answer("I am db")
        with suppress(ApiError):  # engines from 30.0 on will not have it
            # It asks by itself: while db is down, the engine refuses any exec in it.
            ask = f"while sleep 0.5; do wget -q -O - http://{ALIAS}/; done"
            self._client.run(
                PLAIN,
                image=self._image,
                cmd=["sh", "-c", ask],
                links=[f"{DB}:{ALIAS}"],
                labels={"relinkd.enable": "false"},  # should another relinkd be at work here
            )
        return address

    def _stranger_moves_in(self, address: str) -> None:
        story, witness = self._story, self._witness
        story.scene("db stops, and the engine gives its address to a stranger.")
        story.command(f"docker stop {DB}")
        began = time.time_ns()
        self._client.stop(DB)
        story.command(f"docker run -d --name {STRANGER} busybox ...")
        stranger = self._take(address)
        gone = witness.came(frozenset())
        started = self._event(stranger, "start", began)
        story.quote(tail(witness.text()), where=f"the end of /etc/hosts in {WEB}")
        story.saw(f"the stranger has {address}, which was db's", holds=True)
        story.saw(
            f"web's file named nobody {ahead(gone, started)} the stranger's `start`,"
            " and names nobody since",
            gone < started and not witness.now() and witness.named[-1][0] == gone,
        )
        code, said = self._ask()
        story.saw(f"web asks db, and reaches nobody: {said}", code != 0)
        if self._running(PLAIN):
            until(lambda: STRANGE in self._client.logs(PLAIN), "the stranger answers")
            story.aside(f'who asks db there is now answered "{STRANGE}"')

    def _db_moves(self, stranger: str) -> None:
        story = self._story
        story.scene("db starts again. Its address is taken, so it gets another one.")
        story.command(f"docker start {DB}")
        address = self._start_and_see(lambda: self._client.start(DB), lambda: self._client.stop(DB))
        story.saw(f"it is not {stranger}, the stranger's", address != stranger)
        self._see_answer("I am db")

    def _db_is_recreated(self) -> None:
        story, witness = self._story, self._witness
        story.scene("db is removed, and made anew: another container, as after an upgrade.")
        story.command(f"docker rm -f {DB}")
        self._client.remove(DB)
        witness.came(frozenset())
        story.saw("the name means nobody", not witness.now())
        story.command(f"docker run -d --name {DB} busybox ...")
        self._start_and_see(self._run_db, lambda: self._client.remove(DB))
        self._see_answer("I am db")
        if self._running(PLAIN):
            try:
                self._client.restart(PLAIN)
            except ApiError as error:
                story.aside(f"its next restart fails for good: {error.message}")

    def _relinkd_explains(self) -> None:
        self._story.scene("Any time, relinkd says how links stand, and why.")
        for command in (["links", WEB], ["explain", WEB, ALIAS]):
            self._story.command(f"relinkd {' '.join(command)}")
            done = subprocess.run(
                self._command(*command),
                env=environment(),
                check=False,
                capture_output=True,
                text=True,
            )
            print(textwrap.indent(done.stdout + done.stderr, "     | ").rstrip())
            current = next(iter(self._witness.now()), "no address")
            self._story.saw(
                f"its answer agrees with web's file, which says {current}",
                done.returncode == 0 and current in done.stdout,
            )

    # -- what the scenes have in common

    def _start_and_see(self, start: Callable[[], object], undo: Callable[[], object]) -> str:
        """Start db; see that web's file named it in time; return its address."""
        story, witness = self._story, self._witness
        for tries in range(1, TRIES + 1):
            witness.first.clear()
            began = time.time_ns()
            start()
            until(lambda: bool(witness.first), "db runs its first instruction")
            found = self._client.inspect(DB)
            address = str(found["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])
            named, first = witness.came(frozenset({address})), witness.first[0]
            started = self._event(found["Id"], "start", began)
            if named < min(first, started) or tries == TRIES:
                break
            late, load = (named - min(first, started)) / 1e6, os.getloadavg()[0]
            story.late(f"{late:.1f} ms ({os.cpu_count()} processors, load {load:.1f}); again")
            undo()
        story.saw(
            f"web's file named {address} {ahead(named, first)} db's first instruction",
            named < first,
        )
        story.saw(f"and {ahead(named, started)} the engine said `start`", named < started)
        wrong = witness.since(began) - {address}
        story.saw(
            f"no other address was named db{': ' + ' '.join(wrong) if wrong else ''}", not wrong
        )
        return address

    def _see_answer(self, answer: str) -> None:
        deadline = time.monotonic() + PATIENCE
        code, said = self._ask()
        while code != 0 and time.monotonic() < deadline:  # db may not listen yet
            code, said = self._ask()
        self._story.saw(f'web asks db, and is answered "{said}"', code == 0 and said == answer)

    def _ask(self) -> tuple[int, str]:
        """Have web ask db for its page."""
        ask = ["timeout", "5", "wget", "-q", "-O", "-", f"http://{ALIAS}/"]
        code, said = self._client.exec(WEB, ask)
        return code, said.strip() or "no answer"

    def _serve(self, name: str, says: str, first: str = "") -> str:
        script = f"{first} mkdir -p /tmp/www; echo {says} > /tmp/www/index.html;"
        return self._client.run(
            name,
            image=self._image,
            cmd=["sh", "-c", f"{script} exec httpd -f -p 80 -h /tmp/www"],
            binds=[f"{self._seen}:/seen"] if first else [],
        )

    def _run_db(self) -> str:
        return self._serve(DB, "I am db", first="echo first >> /seen/db;")

    def _take(self, address: str) -> str:
        """Start strangers until one has this address; return its ID."""
        for number in range(STRANGERS):
            stranger = self._serve(f"{STRANGER}{number or ''}", STRANGE)
            found = self._client.inspect(stranger)["NetworkSettings"]["Networks"]
            if found["bridge"]["IPAddress"] == address:
                return stranger
        raise DemoError(f"Nobody was given {address}, which db had left: try again")

    def _event(self, container: str, action: str, since_ns: int) -> int:
        """Return when the engine says that something happened to a container."""
        found = self._client.events(
            since=since_ns / 1e9,
            until=time.time(),
            filters={"container": [container], "event": [action]},
        )
        return int(found[-1]["timeNano"])

    def _running(self, name: str) -> bool:
        return bool(self._client.list(all=False, filters={"name": [f"^/{name}$"]}))

    def _is_well(self) -> bool:
        """Whether relinkd answers that it is well; if it ended there is no use in waiting."""
        if self._relinkd is not None and self._relinkd.poll() is not None:
            raise DemoError(f"relinkd ended: {self._log.read_text()}")
        ask = [*self._command()[:1], "health", "--run-dir", str(self._run_dir)]
        return subprocess.run(ask, check=False, capture_output=True).returncode == 0

    def _command(self, *words: str) -> list[str]:
        return [
            str(Path(sys.executable).with_name("relinkd")),
            *words,
            f"--engine=unix://{self._target.socket}",
            f"--containers-dir={self._target.containers}",
            f"--run-dir={self._run_dir}",
        ]


def environment() -> dict[str, str]:
    """Return our environment without anybody's settings of relinkd."""
    return {key: value for key, value in os.environ.items() if not key.startswith("RELINKD_")}


def tail(hosts: str) -> str:
    """Return the lines of a hosts file behind the engine's defaults, without the unused ones."""
    lines = hosts.splitlines()
    last = max(at for at, line in enumerate(lines) if "ip6-all" in line or "localhost" in line)
    return "\n".join(line.rstrip() for line in lines[last + 1 :])


def ahead(one_ns: int, other_ns: int) -> str:
    """Say by how much the one was ahead of the other."""
    return f"{abs(other_ns - one_ns) / 1e6:.1f} ms {'before' if one_ns < other_ns else 'AFTER'}"


def main() -> None:
    """Play the demo; exit with 0 if every step was seen to hold."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # cleans up, as Ctrl-C does
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # a pipe is read live
    story = Story()
    try:
        with ExitStack() as stack:
            target = stack.enter_context(some_engine())
            print(f"On {target.title}, with containers named {PREFIX}* that go away at the end.")
            target.client.sweep(PREFIX)  # what a killed demo left
            image = stack.enter_context(busybox(target))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX)))
            demo = Demo(target, image, folder, story)
            stack.callback(demo.close)
            # Cleaning up is not to be stopped half-way by whoever presses Ctrl-C twice.
            stack.callback(signal.signal, signal.SIGINT, signal.SIG_IGN)
            demo.play()
    except KeyboardInterrupt:
        give_up("Stopped. What the demo made is gone.")
    except (DemoError, ApiError, OSError) as error:
        give_up(f"FAILED: {error}")
    if story.failed:
        give_up(f"FAILED: {story.failed} of the above")
    print("\nAll of it was seen to hold. What the demo made is gone.")


def give_up(why: str) -> NoReturn:
    """Say why, and end."""
    print(f"\n{why}")
    sys.exit(1)


if __name__ == "__main__":
    main()
