"""What replaces the engine's own links: the label for `docker run`, the lines for Compose."""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from reconciler.core.declare import LINKS, Declaration, declarations
from reconciler.core.resolve import sources_of
from watchers.mirror import Mirror
from watchers.model import COMPOSE_NUMBER, COMPOSE_PROJECT, Container

_SEPARATORS = re.compile(r"[,\s]+")
_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


@dataclass(frozen=True, slots=True)
class Move:
    """One recipient's links of the engine, and what to write in their place."""

    recipient: str
    project: str | None
    """Of Compose, as is its service."""
    service: str | None
    replaces: tuple[str, ...]
    links: tuple[str, ...]
    """Declarations of its label, those that it has already among them."""
    notes: tuple[str, ...]


def moves(recipients: Iterable[Container], mirror: Mirror) -> Iterator[Move]:
    """Yield what there is to move, by the recipient's name.

    Nothing for one-off runs of Compose, which nobody makes again, and for those that opted out.
    """
    for container in sorted(recipients, key=lambda each: each.name):
        project, service = container.service or (None, None)
        found = declarations(container, ("endpoint", "engine"))
        if found and (service or not container.labels.get(COMPOSE_PROJECT)):
            yield _Mover(container, project, mirror).move(found, service)


class _Mover:
    """Collects the declarations that say what a container's links of the engine said."""

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
        # All aliases first: what the engine wrote beside one must not take another's place.
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
        """Leave the network out where a link is on each: Compose writes all links on every one.

        That chooses none, and as a demand it could not be met on those that the source is not on.
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
        """Declare one alias; it may have several sources, replicas most likely."""
        sources = [source for each in group for source in sources_of(each, self._mirror)]
        network = self._network(group[0].network)
        for each in group:
            form = self._form(each, {source.id for source in sources})
            self._word(form, each.alias, network)
        if group[0].kind == "engine" and len(sources) == 1:
            self._add_names(sources[0], group[0], network)

    def _add_names(self, source: Container, declaration: Declaration, network: str) -> None:
        """Add what the engine's line had beside the alias, but for a name made of the ID."""
        hostname = source.detail.hostname if source.detail else ""
        names = [source.name] if hostname in ("", source.id[:12]) else [hostname, source.name]
        new = [name for name in dict.fromkeys(names) if name.lower() not in self._taken]
        for name in new:
            self._taken.add(name.lower())
            self._word(self._form(declaration, {source.id}), name, network, extra=True)
        if new:
            which = " and ".join(new)
            self._notes.append(f"{which}: in the engine's line too; leave out what nobody uses")

    def _form(self, declaration: Declaration, linked: set[str]) -> str:
        """Return SOURCE as it is right for this recipient."""
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
        """Demand the network where the recipient is on others too."""
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
        """Yield what the engine's links did beside, and how to see whether it matters."""
        engine = [each.alias for each in found if each.kind == "engine" and not each.problem]
        if engine:
            prefixes = "|".join(dict.fromkeys(map(_prefix, engine)))
            name = self._container.name
            yield (
                f"--link also set variables ({_prefix(engine[0])}PORT ...) before engine 29. "
                "Whether anybody reads them cannot be known from here; look with: "
                f"docker exec {name} env | grep -E '^({prefixes})', and for these names in its "
                f"image. `relinkd env {name} --style engine27` prints them"
            )
        if added := [each.alias for each in found if self._of_compose(each)]:
            which = " and ".join(dict.fromkeys(added))
            yield f"{which}: Compose adds these to a link; leave out what nobody uses"
        if self._project is not None:
            yield "links: also made Compose start the sources first; depends_on does without links"

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
    """Write options for `docker run`; all else is comments."""
    lines = []
    for move in found:
        lines.append(f"# {move.recipient}: instead of {', '.join(move.replaces)}")
        if move.links:
            value = shlex.quote(f"{LINKS}={','.join(move.links)}")
            lines.append(f"--label {value}")
        lines += (f"# - {note}" for note in move.notes)
    return "\n".join(lines)


def as_compose(found: Iterable[Move]) -> str:
    """Write the labels of services, a project's together; all else is comments.

    What Compose did not make is shown as a service of its name.
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
