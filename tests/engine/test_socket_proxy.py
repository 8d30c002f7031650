"""A socket that a proxy guards, one that lets GET pass and cuts idle streams, is enough."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.power_parts import asked, follows, found, linked
from tests.engine.stack import WATCHDOG, Daemon, Stack, until
from tests.lab.client import Client
from tests.lab.packages import library_path, prefix
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
            "daemon.synced",
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
