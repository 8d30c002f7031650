"""What relinkd is given, and what it takes: a guarded socket, no capability, a call a feature."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from reconciler.cli.access import CALLS
from reconciler.core.options import Power as Allowed
from tests.conftest import REAL
from tests.engine import forks
from tests.engine.stack import RELINKD, WATCHDOG, Daemon, Stack, resolve, until
from tests.lab import images
from tests.lab.base import LabError
from tests.lab.client import Client
from tests.lab.engines import Engine
from tests.lab.footprint import reap
from tests.lab.packages import library_path, prefix, require_machine
from tests.lab.proxy import RecordingProxy
from tests.power import BY_EXEC, LOOKING, ROWS, RUN, Power, kind
from watchers.events import SILENCE

USUAL_CUT = 600.0
"""Seconds after which the usual socket proxy cuts an idle stream, unless it was told better."""
CUT = 1.25
"""Above a second, from which on a connection counts as a good one, which is opened anew at once."""
USUAL = ("containers", "events", "info", "networks", "version", "_ping")
CONFIG = r"""
global
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    option http-server-close
    timeout http-request 10s
    timeout queue 1m
    timeout connect 10s
    timeout http-keep-alive 10s
    timeout client {cut}ms
    timeout server {cut}ms
frontend guarded
    bind unix@{listen} mode 600
    http-request deny unless METH_GET
    http-request allow if {{ path,url_dec -m reg -i ^(/v[\d\.]+)?/({paths})(/|$) }}
    http-request deny
    default_backend engine
backend engine
    server engine unix@{engine}
"""
"""The usual socket proxy's, but for the time after which it cuts."""
LOGGED = re.compile(r' (\d{3}) \d+ - - (..)-- .* "([A-Z]+) (\S+) HTTP')

NOTHING = ["--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]


def only(*capabilities: str) -> list[str]:
    """Return the command that runs another as uid 0 with these capabilities and no others."""
    kept = ",".join(["-all", *(f"+{each.lower()}" for each in capabilities)])
    return ["setpriv", f"--bounding-set={kept}", *NOTHING]


OWN_MOUNTS = ["unshare", "--net", "--mount", "--propagation=private", "sh", "-ec"]


def unwritable(containers_dir: Path, run_dir: Path) -> list[str]:
    """Return the command that runs another without a network, all read-only but these two."""
    script = 'mount --bind "$1" "$1"; mount --bind "$2" "$2"; mount -o remount,bind,ro /'
    script += '; shift 2; exec "$@"'
    return [*OWN_MOUNTS, script, "sh", str(containers_dir), str(run_dir)]


def read_only(folder: Path) -> list[str]:
    """Return the command that runs another with a folder mounted read-only."""
    script = 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; shift; exec "$@"'
    return [*OWN_MOUNTS, script, "sh", str(folder)]


@dataclass
class SocketProxy:
    """HAProxy in front of an engine."""

    socket: Path
    log: Path

    def ended(self, what: str, how: str = "") -> int:
        """Return how many requests for a path have ended, of those that ended so.

        HAProxy's two letters: `sD`, it waited in vain for the engine; `CD`, the client hung up.
        """
        found = LOGGED.findall(self.log.read_text())
        return sum(f"/{what}?" in path and how in ("", end) for _, end, _, path in found)

    def await_cuts(self, times: int) -> None:
        """Wait until so many more idle streams were cut."""
        before = self.ended("events", "sD")
        until(lambda: self.ended("events", "sD") >= before + times, "idle streams to be cut")


@contextmanager
def socket_proxy(
    engine: Path, folder: Path, *, cut: float = CUT, paths: Sequence[str] = USUAL
) -> Iterator[SocketProxy]:
    """Run a HAProxy that lets GET and HEAD of some paths pass, and cuts what is idle."""
    proxy = SocketProxy(folder / "guarded.sock", folder / "haproxy.log")
    file, made = folder / "haproxy.cfg", prefix("haproxy")
    allowed = "|".join(paths)
    file.write_text(
        CONFIG.format(cut=round(cut * 1000), listen=proxy.socket, engine=engine, paths=allowed)
    )
    # It ends with the test run, however that ends.
    haproxy: list[str | Path] = [made / "usr/sbin/haproxy", "-db", "-f", file]
    command: list[str | Path] = ["setpriv", "--pdeathsig=KILL", *haproxy]
    environment = {**os.environ, "LD_LIBRARY_PATH": library_path(made)}
    with proxy.log.open("wb") as log:
        running = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        until(lambda: proxy.socket.exists() or running.poll() is not None, "HAProxy")
        assert running.poll() is None, proxy.log.read_text()
        yield proxy
    finally:
        running.terminate()
        running.wait(WATCHDOG)


def asked(
    daemon: Daemon, command: str, *options: str, within: Sequence[str] = ()
) -> tuple[int, str]:
    """Return what a command answers, one that runs within less than a whole machine."""
    argv = [command, *daemon.options, *options]
    if within:
        real = [*within, *RELINKD, *argv]
        done = subprocess.run(real, capture_output=True, text=True, timeout=60, check=False)
    else:
        done = forks.relinkd(*argv)
    return done.returncode, done.stdout + done.stderr


def found(answer: str) -> list[str]:
    """Return the problems in an answer of `check`."""
    return [line for line in answer.splitlines() if line.startswith("- ")]


def linked(stack: Stack, recipient: str = "web", source: str = "db") -> tuple[str, str]:
    """Start a recipient and a source, and wait for the link."""
    db = stack.run(source)
    web = stack.run(recipient, source)
    stack.await_lookup(web, source, stack.address(db))
    return web, db


def follows(stack: Stack, web: str, db: str) -> None:
    """Have the source leave its address to another and come up elsewhere."""
    before = stack.address(db)
    stack.client.stop(db)
    stack.await_lookup(web, "db")
    stack.run(f"at-{before}")
    assert stack.lookup(web, "db") == []
    stack.client.start(db)
    after = stack.address(db)
    assert after != before
    stack.await_lookup(web, "db", after)


# -- a guarded socket ------------------------------------------------------------------------------


def test_a_proxy_that_lets_get_pass_and_cuts_idle_streams_is_enough(
    stack: Stack, tmp_path: Path
) -> None:
    with (
        socket_proxy(stack.client.socket, tmp_path) as proxy,
        stack.instead(tmp_path, socket=proxy.socket) as relinkd,
    ):
        web, db = linked(stack)
        guarded = Client(proxy.socket)
        for method, path in (
            ("POST", f"/containers/{db}/kill"),
            ("PUT", f"/containers/{db}/archive?path=/"),
            ("DELETE", f"/containers/{db}?force=1"),
            ("POST", f"/networks/bridge/disconnect?x=/{db}"),
            ("GET", "/images/json"),
        ):
            assert guarded.raw(method, path)[0] == 403
        assert guarded.raw("HEAD", "/_ping")[0] == 200
        assert stack.client.inspect(db)["State"]["Running"]

        proxy.await_cuts(1)
        follows(stack, web, db)
        said, cut = len(relinkd.log()), proxy.ended("events", "sD")
        proxy.await_cuts(2)
        told = [line["event"] for line in relinkd.log()[said:]]
        assert {*told} == {"engine.found", "engine.lost"}
        assert told.count("engine.lost") <= proxy.ended("events", "sD") - cut
        follows(stack, web, db)
        assert {line["event"] for line in relinkd.log()} == {
            "daemon.looked",
            "daemon.started",
            "engine.found",
            "engine.lost",
            "link.changed",
        }
        assert asked(relinkd, "check")[0] == 0


AT_A_TENTH = (
    "import sys, watchers.observer as observer; observer.SILENCE = float(sys.argv[1]);"
    "del sys.argv[:2]; from reconciler.cli import main; main()"
)


def test_idle_streams_are_renewed_before_the_usual_proxy_cuts_them(
    stack: Stack, tmp_path: Path
) -> None:
    # As in life, but for the unit of time.
    within = [sys.executable, "-c", AT_A_TENTH, str(SILENCE * CUT / USUAL_CUT)]
    with (
        socket_proxy(stack.client.socket, tmp_path) as proxy,
        stack.instead(tmp_path, socket=proxy.socket, within=within) as relinkd,
    ):
        web, db = linked(stack)
        said = len(relinkd.log())
        until(lambda: proxy.ended("events") >= 3, "streams to be given up")
        assert len(relinkd.log()) == said
        follows(stack, web, db)
        assert relinkd.log("engine.lost") == []


def test_a_source_that_moves_while_the_proxy_is_away_is_followed(
    stack: Stack, tmp_path: Path
) -> None:
    with ExitStack() as first:
        proxy = first.enter_context(socket_proxy(stack.client.socket, tmp_path))
        with stack.instead(tmp_path, socket=proxy.socket) as relinkd:
            web, db = linked(stack)
            first.close()
            until(lambda: relinkd.log("engine.lost"), "the proxy to be missed")
            before = stack.address(db)
            stack.client.stop(db)
            stack.run("squatter")
            stack.client.start(db)
            assert stack.lookup(web, "db") == [before]
            with socket_proxy(stack.client.socket, tmp_path):
                stack.await_lookup(web, "db", stack.address(db))


@pytest.mark.parametrize("without", ["containers", "events", "networks"])
def test_check_says_what_a_proxy_refuses(stack: Stack, tmp_path: Path, without: str) -> None:
    stack.run("db")
    paths = [path for path in USUAL if path != without]
    with socket_proxy(stack.client.socket, tmp_path, paths=paths) as proxy:
        relinkd = Daemon(proxy.socket, stack.containers_dir, tmp_path, recorded=False)
        code, answer = asked(relinkd, "check")
    (line,) = found(answer)
    assert code == 1
    assert f"refuses GET /{without}: " in line
    assert "<" not in line
    assert f"{without.upper()}=1" in line


def test_check_says_which_calls_it_has_not_tried(stack: Stack, tmp_path: Path) -> None:
    with socket_proxy(stack.client.socket, tmp_path) as proxy:
        relinkd = Daemon(proxy.socket, stack.containers_dir, tmp_path, recorded=False)
        code, answer = asked(relinkd, "check", "--allow=private,restart")
        assert code == 0
        assert "not tried, since they act: POST /networks/create, " in answer
        assert "POST /containers/{id}/restart; " in answer
        assert "not tried" not in asked(relinkd, "check")[1]


# -- no capability ---------------------------------------------------------------------------------


def status(relinkd: Daemon) -> dict[str, str]:
    """Return what the kernel says of the daemon's process."""
    assert relinkd.process is not None
    lines = Path(f"/proc/{relinkd.process.pid}/status").read_text().splitlines()
    parts = (line.partition(":") for line in lines)
    return {key: value.strip() for key, _, value in parts}


def test_without_capability_network_or_a_root_to_write_on(stack: Stack, tmp_path: Path) -> None:
    within = [*unwritable(stack.containers_dir, tmp_path), *only()]
    with stack.instead(tmp_path, within=within) as relinkd:
        assert relinkd.process is not None
        proc = Path(f"/proc/{relinkd.process.pid}")
        capabilities = {key: int(each, 16) for key, each in status(relinkd).items() if "Cap" in key}
        assert set(capabilities.values()) == {0}
        assert len(capabilities) == 5
        assert (proc / "comm").read_text() == "relinkd\n"
        mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
        ways = {mount[4]: mount[5].split(",")[0] for mount in mounts}
        assert [ways[str(each)] for each in ("/", stack.containers_dir, tmp_path)] == [
            "ro",
            "rw",
            "rw",
        ]
        devices = (proc / "net/dev").read_text().splitlines()[2:]
        assert [line.partition(":")[0].strip() for line in devices] == ["lo"]

        web, db = linked(stack)
        follows(stack, web, db)
        assert relinkd.log("leases.unavailable") == relinkd.log("delivery.failed") == []
        assert asked(relinkd, "check", within=within)[0] == 0


def test_check_says_where_it_may_not_write(stack: Stack, tmp_path: Path) -> None:
    linked(stack)
    relinkd = Daemon(stack.client.socket, stack.containers_dir, tmp_path, recorded=False)
    code, answer = asked(relinkd, "check", within=read_only(stack.containers_dir))
    assert code == 1
    assert f"- {stack.name('web')}: {stack.containers_dir} is mounted read-only" in answer


# -- userns-remap ----------------------------------------------------------------------------------

REMAPPED = "relinkd-lab"
FIRST_UID = 100000


class Remapped(Engine):
    """An engine that remaps users, by a user that is there for it alone."""

    def __init__(self, key: str) -> None:
        super().__init__(key, root=None, dockerd_args=[f"--userns-remap={REMAPPED}"])
        # Where its containers are looked for when all of it is taken away.
        self.containers_dir.symlink_to(f"{FIRST_UID}.{FIRST_UID}/containers")

    def _nsenter(self) -> list[str]:
        """Enter also a mount namespace whose /etc knows that user; the machine's does not."""
        state = self._footprint.state
        ids = f"{FIRST_UID}:{FIRST_UID}"
        for name, line in (
            ("passwd", f"{REMAPPED}:x:{ids}::/:/bin/false"),
            ("group", f"{REMAPPED}:x:{FIRST_UID}:"),
            ("subuid", f"{REMAPPED}:{FIRST_UID}:65536"),
            ("subgid", f"{REMAPPED}:{FIRST_UID}:65536"),
        ):
            there = Path("/etc", name)
            text = there.read_text() if there.exists() else ""
            (state / name).write_text(f"{text}{line}\n")
        script = 'for name in passwd group subuid subgid; do : >>"/etc/$name"; '
        script += 'mount --bind "$0/$name" "/etc/$name"; done; exec "$@"'
        own = ["unshare", "--mount", "--propagation=slave", "sh", "-ec", script, str(state)]
        return [*super()._nsenter(), *own]


REMAPPING = [
    pytest.param(key, id=name, marks=[pytest.mark.engine, pytest.mark.xdist_group(name)])
    for name, key in REAL.items()
]


@pytest.fixture(params=REMAPPING)
def remapped(request: pytest.FixtureRequest) -> Iterator[Remapped]:
    try:
        require_machine()
        reap()
        engine = Remapped(request.param)
        try:
            engine.start()
            images.load(engine.client)
            yield engine
        finally:
            engine.remove()
    except LabError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@contextmanager
def limited(remapped: Remapped, stack: Stack, folder: Path, *capabilities: str) -> Iterator[Daemon]:
    """Run a relinkd as uid 0 with these capabilities alone."""
    folder.mkdir()
    with closing(Daemon(remapped.socket, stack.containers_dir, folder, recorded=False)) as relinkd:
        relinkd.within = only(*capabilities)
        relinkd.start()
        stack.relinkd = relinkd
        yield relinkd


def test_where_users_are_remapped_it_takes_two_capabilities(
    remapped: Remapped, tmp_path: Path
) -> None:
    containers_dir = remapped.root / f"{FIRST_UID}.{FIRST_UID}/containers"
    nobody = Daemon(remapped.socket, containers_dir, tmp_path, recorded=False)
    stack = Stack(remapped.client, containers_dir, nobody)
    db = stack.run("db")
    web = stack.run("web", "db")
    assert stack.hosts_path(web).stat().st_uid == FIRST_UID

    def failed(recipient: str) -> list[str]:
        name = stack.name(recipient)
        lines = stack.relinkd.log("delivery.failed", recipient=name)
        return [line["reason"] for line in lines]

    with limited(remapped, stack, tmp_path / "none") as relinkd:
        until(lambda: failed("web"), "it to be refused")
        assert "DAC_OVERRIDE is missing" in failed("web")[0]
        code, answer = asked(relinkd, "check", within=relinkd.within)
        line = found(answer)[0]
        assert code == 1
        assert line.startswith(f"- {stack.name('web')}: the hosts file cannot be written: ")
        assert f"belongs to uid {FIRST_UID}" in line
        assert "cap_add: [DAC_OVERRIDE, LEASE]" in line
        assert stack.lookup(web, "db") == []

    with limited(remapped, stack, tmp_path / "both", "DAC_OVERRIDE", "LEASE") as relinkd:
        stack.await_lookup(web, "db", stack.address(db))
        follows(stack, web, db)
        assert relinkd.log("delivery.failed") == relinkd.log("leases.unavailable") == []
        assert asked(relinkd, "check", within=relinkd.within)[0] == 0

    # Engine 20.10 gives a file away only after `connect`: before, it is of our own uid.
    late = stack.run("late", "db")
    with limited(remapped, stack, tmp_path / "one", "DAC_OVERRIDE") as relinkd:
        follows(stack, web, db)  # in its line, which is there
        (told,) = relinkd.log("leases.unavailable")
        assert "capability LEASE is missing" in told["reason"]
        # It has no line yet, and none is made beside readers.
        until(lambda: failed("late"), "it to be refused")
        assert "capability LEASE is missing" in failed("late")[0]
        assert stack.lookup(late, "db") == []
        code, answer = asked(relinkd, "check", within=relinkd.within)
        assert code == 1
        assert found(answer)[0].startswith(f"- {stack.name('late')}, {stack.name('web')}: no lease")
        assert "capability LEASE is missing" in found(answer)[0]


# -- calls -----------------------------------------------------------------------------------------

BY_FEATURE: Mapping[str, Power] = {row.feature: row for row in ROWS}


def kinds(recorder: RecordingProxy) -> set[str]:
    """Return which kinds of calls were made."""
    return {kind(request.method, request.path) for request in recorder.requests}


def moves(stack: Stack, labels: Mapping[str, str]) -> None:
    """Have a recipient's source move, so that all that a label asks for is done."""
    db = stack.run("db", exposed=["5432"])
    web = stack.run("web", "db", labels=labels)
    stack.await_lookup(web, "db", stack.address(db))
    follows(stack, web, db)


def an_env_file(stack: Stack, _: Path) -> None:
    moves(stack, {"relinkd.env-file": "/links.env"})

    def renewed() -> bool:
        address = stack.address(stack.name_id("db"))
        return f"='{address}'" in stack.client.exec(stack.name("web"), ["cat", "/links.env"])[1]

    until(renewed, "the file to be renewed")
    # Whoever did not see a container being made looks at what its file holds.
    stack.relinkd.stop()
    stack.relinkd.start()
    follows(stack, stack.name_id("web"), stack.name_id("db"))
    until(renewed, "the file to be renewed by another relinkd")


def a_call(how: str) -> Callable[[Stack, Path], None]:
    def scenario(stack: Stack, _: Path) -> None:
        moves(stack, {"relinkd.on-change": how})
        until(lambda: stack.relinkd.log("tell.called"), "the call")

    return scenario


def a_private_network(stack: Stack, _: Path) -> None:
    labels = {"relinkd.private": "true"}
    db = stack.run("db", labels=labels)
    web = stack.run("web", "db", labels=labels)
    name = f"relinkd-{db[:12]}"
    until(lambda: name in (each["Name"] for each in stack.client.networks()), "the network")
    until(lambda: stack.address(db, name) in stack.lookup(web, "db"), "the link")
    stack.client.remove(web)
    until(lambda: name not in (each["Name"] for each in stack.client.networks()), "it to be gone")


def a_host_name(stack: Stack, hosts: Path) -> None:
    web = stack.run("web", labels={"relinkd.host-names": "web.docker"})

    def named() -> bool:
        return resolve(hosts.read_text(), "web.docker") == [stack.address(web)]

    until(named, "the name")


SCENARIOS: dict[str, Callable[[Stack, Path], None]] = {
    "`run`: links, as the default": lambda stack, _: moves(stack, {}),
    BY_EXEC.feature: lambda stack, _: moves(stack, {}),
    "`relinkd.env-file`": an_env_file,
    "`relinkd.on-change: signal:…`": a_call("signal:WINCH"),
    "`relinkd.on-change: exec:…`": a_call("exec:true"),
    "`relinkd.on-change: restart`": a_call("restart"),
    "`relinkd.private`": a_private_network,
    "`relinkd.host-names`": a_host_name,
}


@pytest.mark.parametrize("feature", SCENARIOS, ids=lambda feature: re.sub(r"\W+", "-", feature))
def test_a_feature_asks_of_the_engine_what_the_table_says(
    stack: Stack, tmp_path: Path, feature: str
) -> None:
    row = BY_FEATURE[feature]
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    options = [f"--allow={row.allow}"] if row.allow else []
    options += [f"--host-names-file={hosts}"] if row.allow == "host-names" else []
    options += ["--delivery=exec"] if row is BY_EXEC else []
    with (
        RecordingProxy(stack.client.socket, tmp_path / "recorded.sock") as recorder,
        stack.instead(tmp_path, *options, socket=recorder.socket),
    ):
        SCENARIOS[feature](stack, hosts)
        stack.client.sweep(stack.prefix)
    assert kinds(recorder) == set(row.calls)
    assert {call for call in kinds(recorder) if not call.startswith("GET ")} <= set(
        CALLS[cast("Allowed", row.allow)] if row.allow else ()
    )


COMMANDS = {
    "check": "`check`, `links --watch`",
    "clean --dry-run": LOOKING,
    "env WEB": LOOKING,
    "explain WEB db": LOOKING,
    "graph": LOOKING,
    "health": "`health`",
    "links": LOOKING,
    "migrate": LOOKING,
    "ports WEB": "`ports`",
    "sync --dry-run": LOOKING,
}


def test_a_command_asks_of_the_engine_what_the_table_says(stack: Stack, tmp_path: Path) -> None:
    linked(stack)

    def asked_by(command: str) -> set[str]:
        folder = tmp_path / command.partition(" ")[0]
        folder.mkdir()
        with RecordingProxy(stack.client.socket, folder / "recorded.sock") as recorder:
            relinkd = Daemon(recorder.socket, stack.containers_dir, folder, recorded=False)
            relinkd.run_dir = stack.relinkd.run_dir
            relinkd.call(*command.replace("WEB", stack.name("web")).split())
        return kinds(recorder)

    with ThreadPoolExecutor(2) as threads:
        answers = dict(zip(COMMANDS, threads.map(asked_by, COMMANDS), strict=True))
    assert answers == {each: set(BY_FEATURE[row].calls) for each, row in COMMANDS.items()}


def test_watching_links_asks_what_the_table_says(stack: Stack, tmp_path: Path) -> None:
    web, db = linked(stack)
    with RecordingProxy(stack.client.socket, tmp_path / "recorded.sock") as recorder:
        relinkd = Daemon(recorder.socket, stack.containers_dir, tmp_path, recorded=False)
        argv = [*RELINKD, "links", "--watch", "--format=json", *relinkd.options]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as watching:
            try:
                assert watching.stdout is not None
                assert stack.name("web") in watching.stdout.readline()
                follows(stack, web, db)
                assert stack.name("web") in watching.stdout.readline()
            finally:
                watching.terminate()
    assert kinds(recorder) == set(BY_FEATURE["`check`, `links --watch`"].calls)


def test_completing_a_name_asks_what_the_table_says(stack: Stack, tmp_path: Path) -> None:
    stack.run("web")
    with RecordingProxy(stack.client.socket, tmp_path / "recorded.sock") as recorder:
        words = f"relinkd explain -H unix://{recorder.socket} {stack.prefix}"
        typed = {"_RELINKD_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "4"}
        done = subprocess.run(
            RELINKD, env={**os.environ, **typed}, capture_output=True, text=True, check=True
        )
    assert stack.name("web") in done.stdout
    assert kinds(recorder) == set(BY_FEATURE["completion of names"].calls)


def test_cleaning_private_networks_asks_what_the_table_says(stack: Stack, tmp_path: Path) -> None:
    row = BY_FEATURE["`clean` of private networks"]
    with stack.instead(tmp_path, f"--allow={row.allow}") as relinkd:
        labels = {"relinkd.private": "true"}
        db = stack.run("db", labels=labels)
        web = stack.run("web", "db", labels=labels)
        name = f"relinkd-{db[:12]}"
        until(lambda: name in (each["Name"] for each in stack.client.networks()), "the network")
        until(lambda: stack.address(db, name) in stack.lookup(web, "db"), "the link")
        relinkd.stop()
        with RecordingProxy(stack.client.socket, tmp_path / "recorded.sock") as recorder:
            relinkd.engine = recorder.socket
            assert name in relinkd.call("clean", f"--allow={row.allow}")
    assert kinds(recorder) == set(row.calls)
    assert name not in (each["Name"] for each in stack.client.networks())


def test_what_check_says_of_a_power_is_what_the_table_says() -> None:
    for power, calls in CALLS.items():
        for row in ROWS:
            if row is BY_EXEC:  # whose other call changes nothing, and is tried
                assert {*CALLS["exec"]} < {*row.calls}
            elif row.allow == power and set(RUN.calls) < {*row.calls}:
                assert set(calls) == {*row.calls} - {*RUN.calls}, row.feature
    assert {row.allow for row in ROWS} == {"", *CALLS}
