"""Every example of docs/migrate.md, run as it stands there, on each real engine.

Of a fenced block the first word is what it is, `console` or `yaml`; a second one is the file that
it is written to. In a console block a line `$ command` is run, in one shell for the whole page. If
output is shown, it is what the command prints; `...` are any lines; addresses are other ones in
another run, but one for one. If none is shown, the command just succeeds.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import LabEngines
from tests.engine import checkout
from tests.engine.conftest import BUILDERS
from tests.engine.guide_parts import ADDRESS, Addresses
from tests.engine.stack import resolve, until
from tests.lab import images
from tests.lab.base import PATH
from tests.lab.engines import Engine
from tests.lab.packages import prefix
from tests.pasted import from_compose, from_run

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/migrate.md"
TEXT = GUIDE.read_text()
FENCE = re.compile(r"^```", re.MULTILINE)


ASKS = re.compile(r"relinkd (?:check|env|explain|links|migrate)\b|docker (?:exec|inspect)\b")
"""Commands that change nothing: asked again until relinkd, which is not waited for, is so far."""
LAST_ONE = ["sh", "-c", "trap exit TERM; sleep 1000000 & wait"]
"""What the stand-ins run: a first process that ends when it is told to."""


@dataclass(frozen=True)
class Command:
    line: int
    text: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    line: int
    """Of its opening fence, in the page."""
    language: str
    file: str
    text: str

    def commands(self) -> Iterator[Command]:
        """Yield what is to be typed, with the output that is shown."""
        found: list[tuple[int, str, list[str]]] = []
        for number, line in enumerate(self.text.splitlines(), self.line + 1):
            if line.startswith("$ "):
                found.append((number, line.removeprefix("$ "), []))
            else:
                assert found, f"line {number}: output of no command"
                found[-1][2].append(line)
        for number, text, shown in found:
            yield Command(number, text, tuple(shown))


@dataclass(frozen=True)
class Section:
    title: str
    blocks: tuple[Block, ...]


def sections(text: str) -> list[Section]:
    """Return the page's sections; fail at a block that nobody would know how to run."""
    found: list[tuple[str, list[Block]]] = [("", [])]
    opened: tuple[int, str] | None = None
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if opened and line == "```":
            at, info = opened
            language, _, file = info.partition(" ")
            assert (language, bool(file)) in {("console", False), ("yaml", True)}, f"line {at}"
            found[-1][1].append(Block(at, language, file, "".join(body)))
            opened, body = None, []
        elif opened:
            body.append(f"{line}\n")
        elif line.startswith("```"):
            opened = number, line.removeprefix("```")
        elif line.startswith("## "):
            found.append((line.removeprefix("## "), []))
        else:
            assert not line.startswith(("~~~", "    ", "\t")), f"line {number}: no block of ours"
    assert opened is None, "a block without an end"
    return [Section(title, tuple(blocks)) for title, blocks in found]


SECTIONS = [section for section in sections(TEXT) if section.blocks]


class Shell:
    """One bash from the page's beginning to its end, which is its reader's."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        environment = {
            **os.environ,
            "PATH": f"{prefix(engine.key) / 'lab-bin'}:{PATH}",
            "DOCKER_HOST": f"unix://{engine.socket}",
            "DOCKER_CONFIG": str(engine.socket.parent / "cli"),
            "DOCKER_BUILDKIT": "0",
            "DOCKER_SOCKET_DIR": str(engine.socket.parent),
            "DOCKER_CONTAINERS_DIR": str(engine.containers_dir),
        }
        self._bash = subprocess.Popen(
            ["bash", "--norc", "-O", "expand_aliases"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> tuple[int, str]:
        """Return the exit code and what was printed."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        end = "\x01end"
        self._bash.stdin.write(f"{{ {command}\n}} </dev/null\nprintf '{end} %d\\n' $?\n")
        self._bash.stdin.flush()
        printed = ""
        for line in self._bash.stdout:
            before, ended, code = line.partition(end)
            printed += before
            if ended:
                return int(code), printed
        raise AssertionError(f"the shell ended at: {command}\n{printed}")

    def close(self) -> None:
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.close()
        self._bash.wait(60)
        self._bash.stdout.close()


class Guide:
    """The page, played on an engine from its beginning to its end."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.page = GUIDE.name
        self.shell = Shell(engine, folder)
        self.addresses = Addresses()
        self.ran: list[int] = []
        """Where the blocks begin that were run."""

    def play(self) -> None:
        """Run every block, and after each section see whether the engine says the same."""
        for section in SECTIONS:
            for block in section.blocks:
                self.run(block)
            TRUE_AFTER[section.title](self)

    def close(self) -> None:
        self.shell.close()

    def run(self, block: Block) -> None:
        if block.language == "yaml":
            file = self.folder / block.file
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.text)
        else:
            for command in block.commands():
                self._type(command)
        self.ran.append(block.line)

    def _type(self, command: Command) -> None:
        last = ""

        def so() -> bool:
            nonlocal last
            code, printed = self.shell.run(command.text)
            last = f"exit code {code}\n{printed}"
            if code:
                return False
            return not command.shown or self.addresses.matches(command.shown, printed)

        said = f"{self.page}, line {command.line}: {command.text}"
        if not ASKS.match(command.text):
            assert so(), f"{said}\n{last}"
            return
        try:
            until(so)
        except AssertionError:
            raise AssertionError(f"{said}\n{last}") from None

    # What must be so beside what the page shows: the words of the engine, not relinkd's.

    def address(self, container: str, network: str) -> str:
        """Return where a container is on a network."""
        found = str(self.engine.client.inspect(container)["Id"])
        endpoint = self.engine.client.network(network)["Containers"][found]
        return str(endpoint["IPv4Address"]).partition("/")[0]

    def lookup(self, container: str, name: str) -> list[str]:
        """Return what a container's resolver finds for a name in its hosts file."""
        _, hosts = self.engine.client.exec(container, ["cat", "/etc/hosts"])
        return resolve(hosts, name)

    def assert_linked_without_links(self, recipient: str, **sources: str) -> None:
        """Fail if the engine had any part in it that these names are right."""
        found = self.engine.client.inspect(recipient)
        assert not found["HostConfig"]["Links"]
        networks = found["NetworkSettings"]["Networks"]
        assert networks
        assert not any(each["Links"] for each in networks.values())
        for alias, source in sources.items():
            container, _, network = source.partition("@")
            assert self.lookup(recipient, alias) == [self.address(container, network)]
            shown = next(
                shown
                for shown, real in self.addresses.real.items()
                if real == self.address(container, network)
            )
            assert f"PING {alias} ({shown})" in TEXT


def _started(guide: Guide) -> None:
    state = guide.engine.client.inspect("relinkd-relinkd-1")["State"]
    assert state["Running"]


def _linked(guide: Guide) -> None:
    guide.assert_linked_without_links("web", webdb="db@bridge")
    # The newcomer has the address that the alias was seen at first.
    before, _ = guide.addresses.real.values()
    assert guide.address("newcomer", "bridge") == before


def _composed(guide: Guide) -> None:
    sources = {"database": "shop-db-1@shop_default", "box": "legacy@lan"}
    guide.assert_linked_without_links("shop-web-1", **sources)


def _told(guide: Guide) -> None:
    guide.assert_linked_without_links("web", webdb="db@bridge")
    env = guide.engine.client.inspect("web")["Config"]["Env"]
    assert "WEBDB_PORT_5432_TCP_ADDR=webdb" in env
    assert not any(ADDRESS.search(each) for each in env)


def _filed(guide: Guide) -> None:
    guide.assert_linked_without_links("web3", webdb="db@bridge")
    code, said = guide.engine.client.exec(
        "web3", ["grep", "-c", guide.address("db", "bridge"), "/links.env"]
    )
    assert (code, said.strip()) == (0, "3")


def _checked(guide: Guide) -> None:
    for each in guide.engine.client.list():
        guide.assert_linked_without_links(each["Id"])


def _left(guide: Guide) -> None:
    for each in guide.engine.client.list():
        assert "relinkd" not in str(each["Names"])
        assert "relinkd" not in (guide.engine.containers_dir / each["Id"] / "hosts").read_text()
    assert guide.lookup("shop-web-1", "database") == []


TRUE_AFTER: dict[str, Callable[[Guide], None]] = {
    "Start relinkd": _started,
    "`docker run --link`": _linked,
    "Compose: `links:` and `external_links:`": _composed,
    "Variables": _told,
    "Variables in a file that follows the source": _filed,
    "Check": _checked,
    "Go back": _left,
}


def stand_ins(engine: Engine) -> None:
    """Give the engine the images that the page names; busybox serves for each."""
    cmd = "CMD [" + ", ".join(f'"{word}"' for word in LAST_ONE) + "]"
    engine.client.import_image("postgres", images.busybox(), changes=[cmd, "EXPOSE 5432"])
    engine.client.import_image("shop/web", images.busybox(), changes=[cmd])


@pytest.fixture(params=BUILDERS)
def guide(request: pytest.FixtureRequest, builders: LabEngines, tmp_path: Path) -> Iterator[Guide]:
    """The page on an engine that is its reader's alone: names and addresses are as shown."""
    engine = builders[request.param]
    checkout.make(tmp_path)
    stand_ins(engine)
    with closing(Guide(engine, tmp_path)) as played:
        yield played
    engine.client.sweep()


@pytest.mark.timeout(1500)
def test_every_example_runs_and_shows_what_it_does(guide: Guide) -> None:
    guide.play()
    fences = [TEXT.count("\n", 0, each.start()) + 1 for each in FENCE.finditer(TEXT)]
    assert guide.ran == fences[::2]


def test_what_is_pasted_is_what_was_printed() -> None:
    pasted = {}
    printed = {}
    for block in (block for section in SECTIONS for block in section.blocks):
        if block.language == "yaml" and "relinkd.links" in block.text:
            pasted["web of shop"] = re.findall(r'relinkd\.links: "(.*)"', block.text)[0].split()
        for command in block.commands() if block.language == "console" else ():
            text = "\n".join(command.shown)
            if command.text == "relinkd migrate web":
                printed["web"] = from_run(text)["web"].split(",")
            elif command.text == "relinkd migrate shop-web-1":
                printed["web of shop"] = from_compose(text)["web"].split()
            words = shlex.split(command.text)
            labels = [word for word in words if word.startswith("relinkd.links=")]
            if labels:
                pasted["web"] = labels[0].partition("=")[2].split(",")
    assert printed.keys() == pasted.keys()
    for recipient, links in pasted.items():
        assert set(links) <= set(printed[recipient])


@pytest.mark.parametrize(
    "text",
    [
        "```\nx\n```\n",
        "```sh\nx\n```\n",
        "```yaml\nx: 1\n```\n",
        "    $ x\n",
        "~~~\nx\n~~~\n",
        "```console\n",
    ],
    ids=["nameless", "a language", "a file without a name", "indented", "tildes", "open"],
)
def test_a_block_that_could_not_be_run_is_none(text: str) -> None:
    with pytest.raises(AssertionError):
        sections(text)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("at 10.0.0.1", "at 172.17.0.2\n", True),
        ("at 10.0.0.1\nat 10.0.0.1", "at 172.17.0.2\nat 172.17.0.2\n", True),
        ("at 10.0.0.1\nat 10.0.0.1", "at 172.17.0.2\nat 172.17.0.3\n", False),
        ("at 10.0.0.1\nat 10.0.0.2", "at 172.17.0.2\nat 172.17.0.2\n", False),
        ("at 10.0.0.1", "at nobody\n", False),
        ("...\nlast", "one\ntwo\nlast\n", True),
        ("...\nlast", "one\nlast\ntwo\n", False),
        ("a.b", "axb\n", False),
        ("one", "one\ntwo\n", False),
    ],
)
def test_what_is_shown_is_what_is_printed(shown: str, printed: str, *, same: bool) -> None:
    assert Addresses().matches(tuple(shown.splitlines()), printed) is same
