# ruff: noqa: S603, T201 - it starts relinkd, and shows what relinkd says
"""What the demo shows: a link from its first day on, through all that happens to its source."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from deploy.demo.engine import Target
from deploy.demo.errors import DemoError
from deploy.demo.story import Story, ahead
from deploy.demo.witness import ALIAS, PATIENCE, Witness, reaches_nobody, tail, until
from tests.lab.client import ApiError

PREFIX = "relinkd-demo-"
DB, WEB, PLAIN, STRANGER = (f"{PREFIX}{name}" for name in ("db", "web", "plain", "stranger"))
STRANGE = "I am a stranger"
STRANGERS = 8
"""Containers started until one is given the address that db left."""
TRIES = 5
"""Starts of db until relinkd is in time. On a busy machine it may be late, and the demo says so."""


class Demo:
    """The scenes, in order."""

    def __init__(self, target: Target, image: str, folder: Path, story: Story) -> None:
        """Prepare: nothing is started yet."""
        self._target = target
        self._client = target.client
        self._image = image
        self._seen = folder / "seen"
        self._seen.mkdir(mode=0o777)
        self._seen.chmod(0o777)  # the engine may map the root of db to any user
        # web has no name server: only the hosts file answers, and a failed lookup ends at once.
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
        # Labels alone: the demo must not touch other links of this engine.
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
        story.explain(
            "# spare",
            "room for links to come: new ones go there, and no byte that a reader may be reading is"
            " ever moved",
        )
        story.saw("web's file has a place for db, and no address yet", not self._witness.now())

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
            f"web's file lost db's address {ahead(gone, started)} the stranger's `start`,"
            " and has had none since",
            gone < started and not witness.now() and witness.named[-1][0] == gone,
        )
        story.explain(
            f"#{address[1:]}",
            f"the line of a source that is down: its first byte, here of {address}, is written over"
            " by `#`, so that it is a comment; one byte, which no reader can find half written",
        )
        code, said = self._ask()
        story.saw(f"web asks db, and no container answers: {said}", reaches_nobody(code, said))
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
        story.scene("A new container replaces db, as an upgrade does.")
        story.command(f"docker rm -f {DB}")
        self._client.remove(DB)
        witness.came(frozenset())
        story.saw("web's file has no address for db", not witness.now())
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
            f"the file gave db no other address{': ' + ' '.join(wrong) if wrong else ''}", not wrong
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
        # Without a time-out: not every busybox has `timeout`, and not every wget bears its own.
        ask = ["wget", "-q", "-O", "-", f"http://{ALIAS}/"]
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
        raise DemoError(f"No stranger got {address}, which db had left: try again")

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
    """Return the environment without settings of relinkd."""
    return {key: value for key, value in os.environ.items() if not key.startswith("RELINKD_")}
