"""The recipes of docs/fleet.md, run as they stand there on two hosts.

In a console block `a$` and `b$` say on which host a command is run; both hosts have the same
folder, a checkout. What is shown below a command is what it prints, with other addresses; `...` is
the rest. A yaml block with a name is that file.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import NEWEST, entered, on_each
from tests.engine import checkout
from tests.engine.stack import until
from tests.lab import images
from tests.lab.base import PATH
from tests.lab.hosts import NO_VXLAN, Host, has_vxlan, hosts
from tests.lab.packages import prefix

PAGE = Path(__file__).parents[2] / "docs/fleet.md"
BLOCK = re.compile(r"^```(console|yaml (\S+))\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
ASKS = re.compile(r"docker exec ")
"""Commands that change nothing: asked again until relinkd is so far."""
WAITS = 'CMD ["sh", "-c", "trap exit TERM; sleep 1000000 & wait"]'


@dataclass
class Step:
    """A file to be written, or a command, the host that it is for, and what it shows."""

    text: str
    file: str = ""
    host: str = ""
    shown: list[str] = field(default_factory=list)


def steps(title: str) -> Iterator[Step]:
    """Yield the steps of one section of the page."""
    _, _, section = PAGE.read_text().partition(f"\n## {title}\n")
    section, _, _ = section.partition("\n## ")
    assert section, title
    for kind, file, text in BLOCK.findall(section):
        if kind != "console":
            yield Step(text, file=file)
            continue
        step: Step | None = None
        for line in text.splitlines():
            if re.match(r"[ab]\$ ", line):
                if step:
                    yield step
                step = Step(line[3:], host=line[0])
            else:
                assert step is not None, f"output of no command: {line}"
                step.shown.append(line)
        assert step is not None
        yield step


def pattern(shown: list[str]) -> str:
    """Return the expression for what a command shows."""
    return "".join(
        r"(?:.*\n)*"
        if line == "..."
        else ADDRESS.pattern.join(map(re.escape, ADDRESS.split(line))) + r"\n"
        for line in shown
    )


class Reader:
    """Who types the commands, on two hosts."""

    def __init__(self, folder: Path, hosts_: dict[str, Host]) -> None:
        self._folder = folder
        self._hosts = hosts_

    def follow(self, title: str) -> None:
        """Do each step of a section."""
        for step in steps(title):
            if step.file:
                (self._folder / step.file).write_text(step.text)
            elif ASKS.match(step.text):
                until(partial(self._is_so, step), step.text)
            else:
                assert self._is_so(step), step.text

    def _is_so(self, step: Step) -> bool:
        host = self._hosts[step.host]
        environment = {
            **os.environ,
            "PATH": f"{prefix(host.key) / 'lab-bin'}:{prefix('etcd') / 'usr/bin'}:{PATH}",
            "DOCKER_HOST": f"unix://{host.socket}",
            "DOCKER_CONFIG": str(host.socket.parent / "cli"),
            "DOCKER_BUILDKIT": "0",
            "DOCKER_SOCKET_DIR": str(host.socket.parent),
            "DOCKER_CONTAINERS_DIR": str(host.containers_dir),
        }
        done = subprocess.run(
            [*host.within, "bash", "-c", step.text],
            cwd=self._folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        print(f"{step.host}$ {step.text}\n{done.stdout}{done.stderr}")
        return not done.returncode and bool(
            not step.shown or re.fullmatch(pattern(step.shown), done.stdout)
        )


@pytest.fixture(params=[each for each in on_each("recipes") if each.id == NEWEST])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reader]:
    """Return who has two fresh hosts, and a checkout in a folder that both see."""
    checkout.make(tmp_path)
    with ExitStack() as stack:
        a, b = entered(stack, hosts(request.param, 2))
        for host in (a, b):
            changes = [word for line in checkout.WITHOUT_INDEX for word in ("--change", line)]
            base = images.python_base_tar()
            host.docker("import", *changes, base, "python:3.11-slim", timeout=300)
            for image in ("postgres", "shop/web"):
                host.client.import_image(image, images.busybox(), changes=[WAITS])
        yield Reader(tmp_path, {"a": a, "b": b})


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_hosts_and_a_swarm(reader: Reader) -> None:
    if not has_vxlan():
        pytest.skip(NO_VXLAN)
    reader.follow("Two hosts and a Swarm")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_compose_hosts_routes_and_etcd(reader: Reader) -> None:
    reader.follow("Two Compose hosts, routes and etcd")
