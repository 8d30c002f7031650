"""Declarations: the sources that a container asks for in labels, the config file and engine links.

The form is `[HOST//]SOURCE[:ALIAS][@NETWORK]`: `--link name:alias` with a network added, and with
another host. An invalid declaration carries its problem; the other declarations of the same label
stay valid.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import msgspec

from reconciler.links.globs import glob_problem, is_wild
from reconciler.links.text import quoted
from watchers.model import BRIDGE, COMPOSE_PROJECT, COMPOSE_SERVICE, Attachment, Container, Family

Kind = Literal["label", "config", "endpoint", "engine"]
"""Where a declaration comes from, in order of precedence for one alias."""
KINDS: tuple[Kind, ...] = get_args(Kind)

PREFIX = "relinkd."
LINKS = "relinkd.links"
WAIT_FOR = "relinkd.wait-for"
ENABLE = "relinkd.enable"
FAMILY = "relinkd.family"
LABELS = (LINKS, WAIT_FOR, ENABLE, FAMILY)
MOST = 500
"""Most declarations in one label, or in the config file for one recipient.

Each needs one or two lines of a hosts file, which may have 1 MiB at most.
"""
LONGEST = 64 * 1024
"""Most characters that relinkd reads of a label."""
ON = "//"
"""Between a host and a source: any host's source is declared `//SOURCE`."""
PUBLISHED = "published"
"""The `@NETWORK` of a source on another host that is reached at that host's own address."""

_SEPARATORS = re.compile(r"[,\s]+")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_NUMBERS = re.compile(r"(?:0x[0-9a-fA-F]*|[0-9]+)(?:\.(?:0x[0-9a-fA-F]*|[0-9]+)){0,3}")
"""What inet_aton(3) reads as an IPv4 address."""
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
    """One link that one recipient asks for, and where it asks."""

    recipient: str
    """The container's ID."""
    source: str
    """As declared, without its host: `NAME`, `/NAME`, `project/service` or an ID."""
    alias: str
    network: str | None
    """The network that the link must use, as declared; None: any shared network."""
    kind: Kind
    project: str | None = None
    """The recipient's Compose project, in which relinkd looks up a bare SOURCE."""
    healthy: bool = False
    """Whether the source must be healthy, not only running (`relinkd.wait-for: healthy`)."""
    families: tuple[Family, ...] = (4, 6)
    problem: str | None = None
    host: str | None = None
    """The host of the source: None, this one alone; empty, any; else its engine's name."""

    @property
    def whole_source(self) -> str:
        """The source with its host, as declared."""
        return self.source if self.host is None else f"{self.host}{ON}{self.source}"

    @property
    def text(self) -> str:
        """The declaration in its full form."""
        network = f"@{self.network}" if self.network else ""
        return f"{self.whole_source}:{self.alias}{network}"


class ConfigLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """A `[[link]]` table of the config file: one declaration for each container that it matches."""

    recipient: str
    """A glob over container names, or over PROJECT/SERVICE."""
    source: str
    alias: str | None = None
    network: str | None = None
    wait_for: Literal["running", "healthy"] | None = None
    """None: the recipient's label decides."""


def alias_problem(alias: str, hostname: str) -> str | None:
    """Return why a container's hosts file cannot hold `alias`; None if it can.

    An alias is RFC 1123 labels with dots between. `_` is allowed, since Compose services have it.
    """
    if len(alias) > 253 or not all(_LABEL.fullmatch(part) for part in alias.split(".")):  # noqa: PLR2004 - RFC 1035
        return f"alias {quoted(alias)} is not a host name"
    if _NUMBERS.fullmatch(alias):
        return f"alias {alias} reads as an IP address, which resolvers do not look up"
    if alias.lower() in _DEFAULT_NAMES:
        return f"alias {alias} is already a name in every hosts file"
    if alias.lower() == hostname.lower():
        return f"alias {alias} is the recipient's own hostname"
    return None


class _Parts(NamedTuple):
    """What a declaration says; `source` without its host."""

    host: str | None
    source: str
    alias: str
    network: str | None


def _parse(text: str) -> _Parts | str:
    """Split `[HOST//]SOURCE[:ALIAS][@NETWORK]` into its parts, or return the problem."""
    link, at, network = text.partition("@")
    whole, colon, alias = link.partition(":")
    if at and (problem := network_problem(network)):
        return f"{quoted(text)}: {problem}"
    if ":" in alias:
        return f"{quoted(text)}: more than one colon; write SOURCE:ALIAS@NETWORK"
    if problem := _source_problem(whole):
        return problem if whole == text else f"{quoted(text)}: {problem}"
    if colon and not alias:
        return f"{quoted(text)}: no alias after the colon"
    return _Parts(*_split(whole), alias or _last(whole), network or None)


def _split(whole: str) -> tuple[str | None, str]:
    """Split `HOST//SOURCE` into host and source; without `//` it is this host's source."""
    host, on, source = whole.partition(ON)
    return (host, source) if on else (None, whole)


def _source_problem(whole: str) -> str | None:
    host, source = _split(whole)
    if host is not None:
        named = not host or _NAME.fullmatch(host)
        parts = source.split("/")
        if not named or len(parts) > 2 or not all(map(_NAME.fullmatch, parts)):  # noqa: PLR2004 - PROJECT/SERVICE
            return (
                f"{quoted(whole)} is not a source on another host; write HOST//NAME or "
                "HOST//PROJECT/SERVICE, where HOST is the engine's name, or empty for any host"
            )
        return None
    parts = source.removeprefix("/").split("/")
    limit = 1 if source.startswith("/") else 2
    if len(parts) > limit or not all(_NAME.fullmatch(part) for part in parts):
        return (
            f"{quoted(source)} is not a source; write NAME, /NAME, an ID or PROJECT/SERVICE, and "
            "separate declarations with blanks or commas"
        )
    return None


def network_problem(network: str) -> str | None:
    """Return why no network can have a name; None if one can."""
    return None if _NAME.fullmatch(network) else f"{quoted(network)} is not a network name"


def _last(source: str) -> str:
    return source.rpartition("/")[2]


def config_problem(link: ConfigLink) -> str | None:
    """Return which key of a `[[link]]` table is invalid, and why; None if the table is valid."""
    if problem := glob_problem(link.recipient):
        return f"recipient: {quoted(link.recipient)} {problem}"
    if problem := _source_problem(link.source):
        return f"source: {problem}"
    if problem := alias_problem(link.alias if link.alias is not None else _last(link.source), ""):
        return f"alias: {problem}"
    if link.network is not None and (problem := network_problem(link.network)):
        return f"network: {problem}"
    return None


def declarations(
    container: Container, kinds: Iterable[Kind] = KINDS, config: Sequence[ConfigLink] = ()
) -> tuple[Declaration, ...]:
    """Return a container's declarations in order of precedence; empty if it opted out.

    Args:
        container: The recipient.
        kinds: The places of declarations that relinkd obeys.
        config: The config file's tables whose globs match the container.
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
                # A list may have newer networks than the inspect: a link goes with its network.
                if attachment.network in container.networks:
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
    """Refuse an alias that no hosts file can hold, and quote it for logs and tables."""
    problem = declaration.problem or alias_problem(declaration.alias, hostname)
    if problem is None:
        return declaration
    return replace(declaration, alias=quoted(declaration.alias)[1:-1], problem=problem)


def _families(text: str) -> tuple[Family, ...]:
    one: Mapping[str, tuple[Family, ...]] = {"4": (4,), "6": (6,)}
    return one.get(text, (4, 6))


def _from_label(container: Container) -> Iterator[Declaration]:
    # One-off runs too: a container of Compose never falls back on a container outside its project.
    project = container.labels.get(COMPOSE_PROJECT) or None
    text = container.labels[LINKS]
    words = [word for word in _SEPARATORS.split(text[:LONGEST]) if word]
    for word in words[:MOST]:
        parsed = _parse(word)
        if isinstance(parsed, str):
            shown = quoted(word)[1:-1]
            yield Declaration(container.id, shown, "", None, "label", project, problem=parsed)
        else:
            host, source, alias, network = parsed
            yield Declaration(container.id, source, alias, network, "label", project, host=host)
    if len(words) > MOST or len(text) > LONGEST:
        problem = f"{LINKS} holds more than {MOST} declarations or {LONGEST} characters"
        yield Declaration(container.id, "...", "", None, "label", project, problem=problem)


def _from_config(
    container: Container, config: Sequence[ConfigLink], *, healthy: bool
) -> Iterator[Declaration]:
    project = container.labels.get(COMPOSE_PROJECT) or None
    # `web-*` may match the link's own source, which needs no link to itself.
    links = [each for each in config if not (is_wild(each.recipient) and _is(container, each))]
    for link in links[:MOST]:
        host, source = _split(link.source)
        yield Declaration(
            container.id,
            source,
            link.alias or _last(source),
            link.network,
            "config",
            project,
            healthy=link.wait_for == "healthy" if link.wait_for else healthy,
            host=host,
        )
    if len(links) > MOST:
        problem = f"the config file has more than {MOST} links for this container"
        yield Declaration(container.id, "...", "", None, "config", project, problem=problem)


def _is(container: Container, link: ConfigLink) -> bool:
    """Whether a container is the source of a link, or a replica of it; `//db` means other ones."""
    if ON in link.source:
        return False
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
            continue  # the engine accepts it, but no container can have this name
        yield Declaration(
            container.id, f"/{source}", alias or source, attachment.network, "endpoint"
        )
