"""Replacements of the engine's own links: labels for `docker run`, lines for Compose."""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from reconciler.links.declare import LINKS, Declaration, declarations
from reconciler.links.sources import sources_of
from watchers.mirror import Mirror
from watchers.model import COMPOSE_NUMBER, COMPOSE_PROJECT, Container

_SEPARATORS = re.compile(r"[,\s]+")
_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


@dataclass(frozen=True, slots=True)
class Move:
    """One recipient's engine links, and their replacement."""

    recipient: str
    project: str | None
    """The Compose project."""
    service: str | None
    replaces: tuple[str, ...]
    links: tuple[str, ...]
    """The declarations of the label, with those that it has already."""
    notes: tuple[str, ...]


def moves(recipients: Iterable[Container], mirror: Mirror) -> Iterator[Move]:
    """Yield the replacements in order of the recipients' names.

    One-off runs of Compose have none, since they are never created again, nor have containers that
    opted out.
    """
    for container in sorted(recipients, key=lambda each: each.name):
        project, service = container.service or (None, None)
        found = declarations(container, ("endpoint", "engine"))
        if found and (service or not container.labels.get(COMPOSE_PROJECT)):
            yield _Mover(container, project, mirror).move(found, service)


class _Mover:
    """Collects the declarations that replace a container's engine links."""

    def __init__(self, container: Container, project: str | None, mirror: Mirror) -> None:
        self._container = container
        self._project = project
        self._mirror = mirror
        self._words = [word for word in _SEPARATORS.split(container.labels.get(LINKS, "")) if word]
        before = declarations(container, ("label",))
        self._taken = {each.alias.lower() for each in before if not each.problem}
        self._notes: list[str] = []

    def move(self, found: Sequence[Declaration], service: str | None) -> Move:
        found = self._told_once(found)
        groups: dict[tuple[str, str | None], list[Declaration]] = {}
        for each in found:
            if each.problem is not None:
                self._notes.append(f"not carried over: {each.problem}")
            elif each.alias.lower() not in self._taken:
                groups.setdefault((each.alias.lower(), each.network), []).append(each)
        # All aliases first: an extra name of the engine must not take an alias of another link.
        self._taken |= {alias for alias, _ in groups}
        for group in groups.values():
            self._add(group)
        return Move(
            recipient=self._container.name,
            project=self._project,
            service=service,
            replaces=tuple(dict.fromkeys(map(_said, found))),
            links=tuple(dict.fromkeys(self._words)),
            notes=tuple(dict.fromkeys((*self._notes, *self._what_else(found)))),
        )

    def _told_once(self, found: Sequence[Declaration]) -> list[Declaration]:
        """Drop the network of a link that is on each: Compose writes all links on every network.

        Such a link demands no network, and a demand would fail for networks without the source.
        """
        on: dict[tuple[str, str], set[str | None]] = {}
        for each in found:
            if each.kind == "endpoint":
                on.setdefault((each.source, each.alias), set()).add(each.network)
        mine = set(self._container.networks)
        every = {link for link, networks in on.items() if len(networks) > 1 and networks >= mine}
        told = (
            replace(each, network=None)
            if each.kind == "endpoint" and (each.source, each.alias) in every
            else each
            for each in found
        )
        return list(dict.fromkeys(told))

    def _add(self, group: Sequence[Declaration]) -> None:
        """Declare one alias; it may have several sources, usually replicas."""
        sources = [source for each in group for source in sources_of(each, self._mirror)]
        network = self._network(group[0].network)
        for each in group:
            form = self._form(each, {source.id for source in sources})
            self._word(form, each.alias, network)
        if group[0].kind == "engine" and len(sources) == 1:
            self._add_names(sources[0], group[0], network)

    def _add_names(self, source: Container, declaration: Declaration, network: str) -> None:
        """Add the names beside the alias in the engine's line, but not the short ID."""
        hostname = source.detail.hostname if source.detail else ""
        names = [source.name] if hostname in ("", source.id[:12]) else [hostname, source.name]
        new = [name for name in dict.fromkeys(names) if name.lower() not in self._taken]
        for name in new:
            self._taken.add(name.lower())
            self._word(self._form(declaration, {source.id}), name, network, extra=True)
        if new:
            which = " and ".join(new)
            self._notes.append(
                f"{which}: in the engine's line too; leave out names that no program uses"
            )

    def _form(self, declaration: Declaration, linked: set[str]) -> str:
        """Return the form of SOURCE for this recipient."""
        name = declaration.source.removeprefix("/")
        source = self._mirror.named(name)
        if source is None:
            self._notes.append(f"there is no container {name} now")
        if self._project is None:
            return name
        if source is None or source.service is None:
            return f"/{name}"
        # A service means all its replicas.
        project, service = source.service
        if not self._mirror.replicas(project, service) <= linked:
            return f"/{name}"
        return service if project == self._project else f"{project}/{service}"

    def _network(self, name: str | None) -> str:
        """Return `@NETWORK` if the recipient is also on other networks."""
        if name is None or len(set(self._container.networks)) < 2:  # noqa: PLR2004 - more than one
            return ""
        return f"@{name.removeprefix(f'{self._project}_') if self._project else name}"

    def _word(self, form: str, alias: str, network: str, *, extra: bool = False) -> None:
        shown = "" if form.removeprefix("/").rpartition("/")[2] == alias else f":{alias}"
        word = f"{form}{shown}{network}"
        labels = {**self._container.labels, LINKS: word}
        (read,) = declarations(replace(self._container, labels=labels), ("label",))
        if read.problem is None:
            self._words.append(word)
        elif not extra:
            self._notes.append(f"not carried over: {read.problem}")

    def _what_else(self, found: Iterable[Declaration]) -> Iterator[str]:
        """Yield the other effects of engine links, and how to see whether they matter."""
        engine = [each.alias for each in found if each.kind == "engine" and not each.problem]
        if engine:
            prefixes = "|".join(dict.fromkeys(map(_prefix, engine)))
            name = self._container.name
            yield (
                f"--link also set variables ({_prefix(engine[0])}PORT ...) before engine 29. "
                "The engine does not show whether a program reads them; check with: "
                f"docker exec {name} env | grep -E '^({prefixes})', and for these names in its "
                f"image. `relinkd env {name} --style engine27` prints them"
            )
        if added := [each.alias for each in found if self._of_compose(each)]:
            which = " and ".join(dict.fromkeys(added))
            yield f"{which}: Compose adds these to a link; leave out names that no program uses"
        if self._project is not None:
            yield "links: also made Compose start the sources first; use depends_on for that"

    def _of_compose(self, link: Declaration) -> bool:
        """Whether an alias is one of the two that Compose gives each link of a service."""
        source = self._mirror.named(link.source.removeprefix("/"))
        if link.kind != "endpoint" or source is None or source.service is None:
            return False
        _, service = source.service
        number = source.labels.get(COMPOSE_NUMBER, "")
        return link.alias in (source.name, f"{service}-{number}", f"{service}_{number}")


def _prefix(alias: str) -> str:
    return re.sub(r"[^A-Z0-9_]", "_", alias.upper()) + "_"


def _said(declaration: Declaration) -> str:
    text = f"{declaration.source.removeprefix('/')}:{declaration.alias}"
    if declaration.kind == "engine":
        return f"--link {text}"
    return f"link {text}" + (f" on {declaration.network}" if declaration.network else "")


def as_run(found: Iterable[Move]) -> str:
    """Return options for `docker run`; all other lines are comments."""
    lines = []
    for move in found:
        lines.append(f"# {move.recipient}: instead of {', '.join(move.replaces)}")
        if move.links:
            value = shlex.quote(f"{LINKS}={','.join(move.links)}")
            lines.append(f"--label {value}")
        lines += (f"# - {note}" for note in move.notes)
    return "\n".join(lines)


def as_compose(found: Iterable[Move]) -> str:
    """Return the labels of services, grouped by project; all other lines are comments.

    A container that Compose did not create appears as a service of its name.
    """
    lines = []
    by_project: dict[str, dict[str, list[Move]]] = {}
    for move in found:
        services = by_project.setdefault(move.project or "", {})
        services.setdefault(move.service or move.recipient, []).append(move)
    for project, services in by_project.items():
        lines.append(f"# project {project}" if project else "# not made by Compose")
        for service, replicas in services.items():
            replaced = dict.fromkeys(each for move in replicas for each in move.replaces)
            lines.append(f"# {service}: instead of {', '.join(replaced)}")
            notes = dict.fromkeys(note for move in replicas for note in move.notes)
            lines += (f"# - {note}" for note in notes)
        lines.append("services:")
        for service, replicas in services.items():
            links = dict.fromkeys(each for move in replicas for each in move.links)
            value = json.dumps(" ".join(links)).replace("$", "$$")
            if links:
                lines += (f"  {_key(service)}:", "    labels:", f"      {LINKS}: {value}")
    return "\n".join(lines)


def _key(text: str) -> str:
    plain = _PLAIN_KEY.fullmatch(text) and text.lower() not in _YAML_WORDS
    return text if plain else json.dumps(text)
