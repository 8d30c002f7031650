"""A relinkd on each host, and what a scenario does with their containers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engine.stack import WATCHDOG, Daemon, Stack
from tests.lab.hosts import Host, Hosts


@dataclass
class Post(Stack):
    """A host with its relinkd; names are taken as they are."""

    host: Host = field(kw_only=True)
    lab: Hosts = field(kw_only=True)

    def declare(self, name: str, links: str, network: str) -> str:
        """Start a container that declares these links; return its ID."""
        return self.client.run(name, labels={"relinkd.links": links}, network=network)

    def states(self, recipient: str) -> dict[str, dict[str, Any]]:
        """Return the rows that `relinkd links` has for a recipient, by alias."""
        rows = json.loads(self.relinkd.call("links", recipient, "--format=json"))
        return {row["alias"]: row for row in rows}

    def await_state(self, recipient: str, alias: str, state: str) -> dict[str, Any]:
        """Wait for the state of a link; return its row."""
        deadline = time.monotonic() + WATCHDOG
        while (row := self.states(recipient)[alias])["state"] != state:
            assert time.monotonic() < deadline, f"waited in vain for {state}: {row}"
            time.sleep(0.2)  # each command costs 0.4 s of a core
        return row

    def reaches(self, container: str, target: str) -> bool:
        """Whether a container gets an answer from an address or a name."""
        return self.host.ping(container, target)


def begin(host: Host, folder: Path, *options: str) -> Daemon:
    """Make the relinkd of a host, which is cut off with it; `start` starts it."""
    folder.mkdir(exist_ok=True)
    made = Daemon(host.socket, host.containers_dir, folder, *options)
    made.within = host.within
    return made


@contextmanager
def crew(
    lab: Hosts, folder: Path, *options: str, own: Mapping[str, str] | None = None
) -> Iterator[Sequence[Post]]:
    """Run a relinkd with these options on each host, and with one of its own where that is said."""
    with ExitStack() as stack:
        posts = []
        for host in lab:
            given = [*options, *filter(None, [(own or {}).get(host.name)])]
            relinkd = stack.enter_context(closing(begin(host, folder / host.name, *given)))
            relinkd.start()
            posts.append(
                Post(host.client, host.containers_dir, relinkd, prefix="", host=host, lab=lab)
            )
        yield posts
