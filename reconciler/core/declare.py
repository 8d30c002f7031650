"""Declarations: what a container wants to reach, by labels, the config file and the engine's links.

`SOURCE[:ALIAS][@NETWORK]`, the seed's `--link name:alias` with a network added. A declaration
that cannot stand carries its problem; the others of the same label stand.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import msgspec

from reconciler.core.globs import glob_problem, is_wild
from watchers.model import COMPOSE_PROJECT, COMPOSE_SERVICE, Attachment, Container, Family

Kind = Literal["label", "config", "endpoint", "engine"]
"""In order of precedence for one alias."""
KINDS: tuple[Kind, ...] = get_args(Kind)

PREFIX = "relinkd."
LINKS = "relinkd.links"
WAIT_FOR = "relinkd.wait-for"
ENABLE = "relinkd.enable"
FAMILY = "relinkd.family"
LABELS = (LINKS, WAIT_FOR, ENABLE, FAMILY)
MOST = 500
"""Declarations of one label, or of the config file for one recipient.

Each needs a line or two of a file of at most 1 MiB.
"""
LONGEST = 64 * 1024
"""Characters of a label that are read."""
BRIDGE = "bridge"

_SEPARATORS = re.compile(r"[,\s]+")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_DEFAULT_NAMES = frozenset(
    {
        "localhost",
        "ip6-localhost",
        "ip6-loopback",
        "ip6-localnet",
        "ip6-mcastprefix",
        "ip6-allnodes",
        "ip6-allrouters",
    }
)


@dataclass(frozen=True, slots=True)
class Declaration:
    """One wish of one recipient, and where it stands."""

    recipient: str
    """The container's ID."""
    source: str
    """As declared: `NAME`, `/NAME`, `project/service` or an ID."""
    alias: str
    network: str | None
    """The network that is demanded, as declared."""
    kind: Kind
    project: str | None = None
    """The recipient's Compose project, within which a bare SOURCE is looked for."""
    healthy: bool = False
    """Whether a running source is not enough (`relinkd.wait-for: healthy`)."""
    families: tuple[Family, ...] = (4, 6)
    problem: str | None = None

    @property
    def text(self) -> str:
        """The declaration in its full form."""
        network = f"@{self.network}" if self.network else ""
        return f"{self.source}:{self.alias}{network}"


class ConfigLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """A `[[link]]` table of the config file: a wish of every container that its glob names."""

    recipient: str
    """A glob over container names, or over PROJECT/SERVICE."""
    source: str
    alias: str | None = None
    network: str | None = None
    wait_for: Literal["running", "healthy"] | None = None
    """None: as the recipient's label says."""


def alias_problem(alias: str, hostname: str) -> str | None:
    """Say why `alias` cannot be written into the hosts file of a container, or None if it can.

    RFC 1123 labels with dots between, `_` allowed since Compose services have it.
    """
    if len(alias) > 253 or not all(_LABEL.fullmatch(part) for part in alias.split(".")):  # noqa: PLR2004 - RFC 1035
        return f"alias {quoted(alias)} is no host name"
    if alias.lower() in _DEFAULT_NAMES:
        return f"alias {alias} is a name of every hosts file"
    if alias.lower() == hostname.lower():
        return f"alias {alias} is the recipient's own hostname"
    return None


def quoted(text: str) -> str:
    """Quote hostile text for a message: short, printable, one line."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")  # noqa: PLR2004 - a line's width


def _parse(text: str) -> tuple[str, str, str | None] | str:
    """`SOURCE[:ALIAS][@NETWORK]` to its parts, or what is wrong with it."""
    link, at, network = text.partition("@")
    source, colon, alias = link.partition(":")
    if at and (problem := _network_problem(network)):
        return f"{quoted(text)}: {problem}"
    if ":" in alias:
        return f"{quoted(text)}: more than one colon; write SOURCE:ALIAS@NETWORK"
    if problem := _source_problem(source):
        return f"{quoted(text)}: {problem}"
    if colon and not alias:
        return f"{quoted(text)}: no alias after the colon"
    return source, alias or _last(source), network or None


def _source_problem(source: str) -> str | None:
    parts = source.removeprefix("/").split("/")
    limit = 1 if source.startswith("/") else 2
    if len(parts) > limit or not all(_NAME.fullmatch(part) for part in parts):
        return f"{quoted(source)} is no source; write NAME, /NAME, an ID or PROJECT/SERVICE"
    return None


def _network_problem(network: str) -> str | None:
    return None if _NAME.fullmatch(network) else f"{quoted(network)} is no network's name"


def _last(source: str) -> str:
    return source.rpartition("/")[2]


def config_problem(link: ConfigLink) -> str | None:
    """Say which key of a `[[link]]` table cannot stand, and why; None if all can."""
    if problem := glob_problem(link.recipient):
        return f"recipient: {quoted(link.recipient)} {problem}"
    if problem := _source_problem(link.source):
        return f"source: {problem}"
    if problem := alias_problem(link.alias if link.alias is not None else _last(link.source), ""):
        return f"alias: {problem}"
    if link.network is not None and (problem := _network_problem(link.network)):
        return f"network: {problem}"
    return None


def declarations(
    container: Container, kinds: Iterable[Kind] = KINDS, config: Sequence[ConfigLink] = ()
) -> tuple[Declaration, ...]:
    """Return what a container declares, in order of precedence; none where it opted out.

    `config` are the tables of the config file whose globs name it.
    """
    if container.labels.get(ENABLE, "").strip().lower() == "false":
        return ()
    found: list[Declaration] = []
    healthy = container.labels.get(WAIT_FOR, "running").strip() == "healthy"
    if "label" in kinds and LINKS in container.labels:
        found += _from_label(container)
    if "config" in kinds:
        found += _from_config(container, config, healthy=healthy)
    if container.detail is not None:
        if "endpoint" in kinds:
            for attachment in container.detail.attachments:
                found += _from_endpoint(container, attachment)
        if "engine" in kinds:
            found += (
                Declaration(container.id, f"/{link.source}", link.alias, BRIDGE, "engine")
                for link in container.detail.links
            )
    hostname = container.detail.hostname if container.detail else container.id[:12]
    families = _families(container.labels.get(FAMILY, "both").strip())
    return tuple(
        replace(
            _checked(each, hostname),
            healthy=each.healthy if each.kind == "config" else healthy,
            families=families,
        )
        for each in found
    )


def _checked(declaration: Declaration, hostname: str) -> Declaration:
    """Refuse an alias that cannot be written; it is logged and shown, so it is quoted then."""
    problem = declaration.problem or alias_problem(declaration.alias, hostname)
    if problem is None:
        return declaration
    return replace(declaration, alias=quoted(declaration.alias)[1:-1], problem=problem)


def _families(text: str) -> tuple[Family, ...]:
    one: Mapping[str, tuple[Family, ...]] = {"4": (4,), "6": (6,)}
    return one.get(text, (4, 6))


def _from_label(container: Container) -> Iterator[Declaration]:
    # Of one-off runs too: what Compose made never falls back on a stranger's container.
    project = container.labels.get(COMPOSE_PROJECT) or None
    text = container.labels[LINKS]
    words = [word for word in _SEPARATORS.split(text[:LONGEST]) if word]
    for word in words[:MOST]:
        parsed = _parse(word)
        if isinstance(parsed, str):
            shown = quoted(word)[1:-1]
            yield Declaration(container.id, shown, "", None, "label", project, problem=parsed)
        else:
            yield Declaration(container.id, *parsed, "label", project)
    if len(words) > MOST or len(text) > LONGEST:
        problem = f"{LINKS} holds more than {MOST} declarations or {LONGEST} characters"
        yield Declaration(container.id, "...", "", None, "label", project, problem=problem)


def _from_config(
    container: Container, config: Sequence[ConfigLink], *, healthy: bool
) -> Iterator[Declaration]:
    project = container.labels.get(COMPOSE_PROJECT) or None
    # `web-*` may well name its source too, which is not asked to reach itself.
    links = [each for each in config if not (is_wild(each.recipient) and _is(container, each))]
    for link in links[:MOST]:
        yield Declaration(
            container.id,
            link.source,
            link.alias or _last(link.source),
            link.network,
            "config",
            project,
            healthy=link.wait_for == "healthy" if link.wait_for else healthy,
        )
    if len(links) > MOST:
        problem = f"the config file has more than {MOST} links for this container"
        yield Declaration(container.id, "...", "", None, "config", project, problem=problem)


def _is(container: Container, link: ConfigLink) -> bool:
    """Whether a container is the source of a link, or a replica of it."""
    bare = link.source.removeprefix("/")
    project, service = (container.labels.get(key) for key in (COMPOSE_PROJECT, COMPOSE_SERVICE))
    if "/" in bare:
        return bare == f"{project}/{service}"
    own = bare == link.source and project is not None and bare == service
    return own or bare == container.name


def _from_endpoint(container: Container, attachment: Attachment) -> Iterator[Declaration]:
    for link in attachment.links:
        source, _, alias = link.partition(":")
        source = source.removeprefix("/")
        if not _NAME.fullmatch(source):
            continue  # the engine took it, and it can be no container: nothing to reach
        yield Declaration(
            container.id, f"/{source}", alias or source, attachment.network, "endpoint"
        )
