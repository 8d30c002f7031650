"""An engine that crashed and came back: a first process read an address of before."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.engine.conftest import ENGINES
from tests.engine.stack import Stack, daemon, resolve, until
from tests.lab.base import LabError
from tests.lab.engines import engine as lab_engine

SHOW = [
    "sh",
    "-c",
    "cat /etc/hosts >/seen/new; mv /seen/new /seen/read-$(date +%s%N); exec sleep 1000000",
]


@pytest.mark.parametrize("key", ENGINES)
def test_a_first_process_finds_its_link_at_a_strangers_address(key: str, tmp_path: Path) -> None:
    """`db` is not started again, another container takes its address, and `web` starts again."""
    seen = tmp_path / "seen"
    seen.mkdir()
    with ExitStack() as scene:
        try:
            engine = scene.enter_context(lab_engine(key))
        except LabError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(error))
        options = (engine.socket, engine.containers_dir, tmp_path, "--resync=1h")
        with daemon(*options, recorded=False) as relinkd:
            stack = Stack(engine.client, engine.containers_dir, relinkd)
            shared = stack.network("n", "172.30.81.0/24")
            db = stack.run("db", network=shared)
            taken = stack.address(db, shared)
            others = [stack.run(f"o{n}", network=shared, restart="always") for n in range(3)]
            binds = [f"{seen}:/seen"]
            web = stack.run(
                "web", "db:late", network=shared, restart="always", cmd=SHOW, binds=binds
            )
            stack.await_lookup(web, "late", taken)
            until(lambda: {*seen.glob("read-*")}, "what the first process of web read")
            before = {*seen.glob("read-*")}
            everyone = [db, *others, web]
            pids = [int(stack.client.inspect(each)["State"]["Pid"]) for each in everyone]
            engine.kill()
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            engine.start()
            until(lambda: {*seen.glob("read-*")} - before, "the first process of web")
            running = [*others, web]
            until(
                lambda: taken in {stack.address(each, shared) for each in running},
                "another container at the address of db",
            )
            until(lambda: len(relinkd.log("engine.found")) == 2, "the engine to be found")
            stack.await_lookup(web, "late")
            for text in {*seen.glob("read-*")} - before:
                assert resolve(text.read_text(), "late") == []
            assert stack.state("web", "late")["state"] == "down"
            stack.client.start(db)
            stack.await_lookup(web, "late", stack.address(db, shared))
