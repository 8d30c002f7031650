"""Private networks and real traffic on them.

Every source answers a connection with its hostname, which the engine made of its ID. Whoever is to
be kept out tries while somebody else gets in, and gets in elsewhere itself. Every test ends with
all its containers removed, and fails where a network of ours is left then.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from tests.engine.stack import Stack, until
from tests.lab.create import CreateOptions
from tests.lab.engines import Engine

SERVE = ["nc", "-ll", "-p", "80", "-e", "hostname"]
SAYS = {"relinkd.private": "true"}
POOL = ipaddress.ip_network("10.213.0.0/16")
OURS = {"label": ["relinkd.private"]}
NOBODY = ""


@dataclass
class Private:
    """A scenario whose relinkd may make networks."""

    stack: Stack
    engine: Engine
    file: Path

    # -- what there is

    def networks(self) -> dict[str, dict[str, Any]]:
        """Return the networks of ours that there are, by name."""
        query = json.dumps(OURS)
        _, answer = self.stack.client.raw("GET", f"/networks?filters={query.replace(' ', '')}")
        found = (network for network in json.loads(answer))
        return {each["Name"]: each for each in found if each["Name"].startswith("relinkd-")}

    def of(self, source: str) -> str:
        return f"relinkd-{source[:12]}"

    def members(self, source: str) -> set[str]:
        """Return who has a source's network in its configuration, running or not."""
        filters = {"network": [self.of(source)]}
        return {str(each["Id"]) for each in self.stack.client.list(filters=filters)}

    def await_members(self, source: str, *members: str) -> None:
        """Wait until a source's network has these on it and no others; with none: it is gone."""
        name, wanted = self.of(source), {*members}
        until(
            lambda: self.members(source) == wanted and (name in self.networks()) == bool(members),
            f"{name} with {len(members)}",
        )

    def at(self, source: str, family: int = 4) -> str:
        return self.stack.address(source, self.of(source), family)

    def await_linked(self, recipient: str, alias: str, source: str) -> str:
        """Wait until an alias is at a source's private address; return the IPv4 one."""

        def linked() -> bool:
            found = self.stack.lookup(recipient, alias)
            return found != [] and found[0] == self.at(source)

        until(linked, f"{alias} on {self.of(source)}")
        address = self.at(source)
        assert ipaddress.ip_address(address) in POOL
        return address

    def heard(self, event: str, **values: Any) -> list[dict[str, Any]]:
        """Wait until the daemon said this."""
        until(lambda: self.stack.relinkd.log(event, **values), f"{event} {values}")
        return self.stack.relinkd.log(event, **values)

    # -- what is done

    def create(self, short: str, declared: str = "", /, **options: Unpack[CreateOptions]) -> str:
        """Create a container that says that it takes part."""
        options["labels"] = {**SAYS, **(options.get("labels") or {})}
        return self.stack.create(short, declared, **options)

    def run(self, short: str, declared: str = "", /, **options: Unpack[CreateOptions]) -> str:
        container = self.create(short, declared, **options)
        self.stack.client.start(container)
        return container

    def ask(self, container: str, where: str, seconds: int = 2) -> str:
        """Return what a connection from inside is answered; `NOBODY` where it is not."""
        argv = ["nc", "-w", str(seconds), where, "80"]
        code, output = self.stack.client.exec(container, argv)
        return output.strip() if code == 0 else NOBODY

    def ask_all(self, container: str, *where: str) -> str:
        """Return all that connections from inside, made at once, are answered."""
        script = 'for each in "$@"; do nc -w 2 $each 80 & done; wait'
        _, output = self.stack.client.exec(container, ["sh", "-c", script, "sh", *where])
        return " ".join(re.findall(r"^[0-9a-f]{12}$", output, re.MULTILINE))

    def await_answer(self, container: str, where: str, source: str) -> None:
        """Wait until this source answers, which may not listen yet."""
        until(lambda: self.ask(container, where) == source[:12], f"{where} to answer")

    def link(self, *links: str) -> None:
        """Have the config file hold these: `RECIPIENT SOURCE ALIAS`, under this test's names."""
        text = ""
        for link in links:
            recipient, source, alias = link.split()
            text += (
                f'[[link]]\nrecipient = "{self.stack.name(recipient)}"\n'
                f'source = "{self.stack.name(source)}"\nalias = "{alias}"\n'
            )
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.rename(self.file)


@contextmanager
def relinkd_on(stack: Stack, engine: Engine, folder: Path, resync: str) -> Iterator[Private]:
    file = folder / "etc" / "relinkd.toml"
    file.parent.mkdir()
    file.write_text("")
    options = "--allow=private", f"--config={file}", f"--resync={resync}"
    with stack.instead(folder / "run", *options, recorded=True):
        scenario = Private(stack, engine, file)
        try:
            yield scenario
            stack.client.sweep(stack.prefix)
            until(lambda: scenario.networks() == {}, "nothing of ours to be left")
        finally:
            for name in scenario.networks():
                for container in stack.client.list(filters={"network": [name]}):
                    stack.client.disconnect(name, container["Id"], force=True)
                stack.client.network_remove(name)
