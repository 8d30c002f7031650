"""Projects of Compose.

Every source answers a connection with its hostname, which the engine made of its ID: what a
connection from inside is answered names the very container that was reached.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from tests.engine.stack import Stack, until
from tests.lab.engines import Engine

HELD = "255.255.255.255"
NOBODY = "-"
SERVE = ["nc", "-ll", "-p", "80", "-e", "hostname"]
BASE = """
x-service: &service
  image: busybox:latest
  pull_policy: never
  init: false
  stop_signal: SIGKILL
x-source: &source
  <<: *service
  command: [nc, -ll, -p, "80", -e, hostname]
x-ask: &ask
  command: [sh, -c, "while :; do nc -w 1 db 80 2>/dev/null || echo -; usleep 5000; done"]
"""


class Project:
    """A Compose project. It, its containers and its networks begin with the test's prefix.

    `${PREFIX}` in its file is that prefix.
    """

    def __init__(self, stack: Stack, engine: Engine, folder: Path, text: str) -> None:
        self.name = stack.name(folder.name)
        self._stack = stack
        self._client = stack.client
        self._engine = engine
        self._file = folder / "compose.yaml"
        folder.mkdir()
        (folder / ".env").write_text(f"PREFIX={stack.prefix}\n")
        self.write(text)

    def write(self, text: str) -> None:
        """Change the project's file."""
        self._file.write_text(BASE + text)

    def __call__(self, *arguments: str) -> None:
        """Run `docker compose` for the project."""
        named = ["--project-name", self.name, "--file", str(self._file)]
        self._engine.docker("compose", *named, *arguments)

    def up(self, *arguments: str) -> None:
        self("up", "--detach", *arguments)

    def remove(self) -> None:
        """Remove the containers left, those among them that Compose had not named yet."""
        for container in self.ids():
            self._client.remove(container)

    def _labelled(self, *labels: str) -> dict[str, list[str]]:
        wanted = f"project={self.name}", *labels
        return {"label": [f"com.docker.compose.{label}" for label in wanted]}

    def ids(self) -> set[str]:
        """Return the IDs of all its containers, one-off runs among them."""
        return {str(each["Id"]) for each in self._client.list(filters=self._labelled())}

    def lives(self) -> set[tuple[str, str]]:
        """Return its containers, and since when each runs."""
        return {(each, self._client.inspect(each)["State"]["StartedAt"]) for each in self.ids()}

    def networks(self) -> list[str]:
        """Return the names of the networks that are left of it."""
        names = (str(each["Name"]) for each in self._client.networks())
        return [name for name in names if name.startswith(f"{self.name}_")]

    def network(self, short: str = "default") -> str:
        """Return the name by which the engine knows one of its networks."""
        return f"{self.name}_{short}"

    def replicas(self, service: str) -> list[str]:
        """Return the IDs of a service's containers by number."""
        filters = self._labelled(f"service={service}", "oneoff=False")
        number = "com.docker.compose.container-number"
        found = self._client.list(filters=filters)
        return [str(each["Id"]) for each in sorted(found, key=lambda e: int(e["Labels"][number]))]

    def id(self, service: str) -> str:
        """Return the ID of a service's one container."""
        (container,) = self.replicas(service)
        return container

    def address(self, service: str, network: str | None = None) -> str:
        """Return where a service's one container is, as the engine says."""
        return self._stack.address(self.id(service), network or self.network())

    def lookup(self, recipient: str, alias: str) -> list[str]:
        """Return what an alias resolves to by the hosts file of a service's one container."""
        return self._stack.lookup(self.id(recipient), alias)

    def await_lookup(self, recipient: str, alias: str, *addresses: str) -> None:
        self._stack.await_lookup(self.id(recipient), alias, *addresses)

    def asked(self, recipient: str, alias: str = "db") -> str:
        """Return what a connection from inside is answered; `NOBODY` where it is not."""
        code, output = self._client.exec(self.id(recipient), ["nc", "-w", "2", alias, "80"])
        return output.strip() if code == 0 and output else NOBODY

    def await_asked(self, recipient: str, source: str, alias: str = "db") -> None:
        """Wait until it is this container that answers, which may not listen yet, and no other."""
        answers = {NOBODY}

        def answered() -> bool:
            answers.add(self.asked(recipient, alias))
            return answers != {NOBODY}

        until(answered, f"{alias} of {recipient}")
        assert answers == {NOBODY, source[:12]}


Projects: TypeAlias = Callable[[str, str], Project]
