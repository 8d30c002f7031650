"""A link's environment variables: as documented, or as the engines really set them.

`documented` follows Docker's guide of 2015 to the letter. `engine27` is what engines 1.7 to 27 set
and `engine28` what engine 28 sets (29 sets none by default): the same names, order and mistakes.
The source's own environment may hold secrets: it is copied only if the caller passes it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from reconciler.links.options import Copies
from reconciler.links.reach import Link
from reconciler.links.targets import Target

Style = Literal["documented", "engine27", "engine28"]
STYLES: tuple[Style, ...] = get_args(Style)
Form = Literal["dotenv", "export", "shell"]
Variable = tuple[str, str]

_PORT = re.compile(r"([0-9]{1,5})(?:/([A-Za-z0-9]+))?")
_LAST_PORT = 65535
"""The API of engines up to 28 accepts higher ports to expose, and sets nonsense for them."""
_NOT_IN_A_NAME = re.compile(r"[^A-Z0-9_]")
_NOT_COPIED = ("HOME", "PATH")
"""Variables of the source's image that every engine leaves out."""

_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DOTENV_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_BARE = re.compile(r"(?:[A-Za-z0-9_./:@%+,=\[\]-]+(?: [A-Za-z0-9_./:@%+,=\[\]-]+)*)?")
"""Values that every reader of a dotenv file reads unchanged."""
_SINGLE = re.compile(r"[^'\\\x00-\x08\x0b-\x1f\x7f]*")
_DOUBLE = re.compile(r'[^"\\$`\x00-\x08\x0b-\x1f\x7f]*')


def reached_at(link: Link) -> tuple[Target, str] | None:
    """Return the source and address for a link's variables; the first one of replicas.

    IPv4 comes first: the engines' variables know no other family.
    """
    for target in link.targets:
        for family in link.declaration.families:
            if address := target.address(family):
                return target, address
    return None


def variables(
    style: Style, name: str, address: str, exposed: Iterable[str], env: Iterable[str] = ()
) -> list[Variable]:
    """Return a link's variables in order, with duplicates where the engine sets them.

    Args:
        style: The variables to imitate.
        name: `/recipient/alias`.
        address: The source's address.
        exposed: The source's ports, each as `53/udp`.
        env: The source's own variables to copy, each as `NAME=VALUE`.
    """
    alias = name.rpartition("/")[2]
    # Go maps one character to one: the engines keep a character that Python maps to two.
    upper = "".join(each.upper() if len(each.upper()) == 1 else each for each in alias)
    found = filter(None, map(_PORT.fullmatch, exposed))
    ports = {_Port(int(each[1]), each[2] or "tcp") for each in found if int(each[1]) <= _LAST_PORT}
    if style == "documented":
        prefix = _NOT_IN_A_NAME.sub("_", upper)
        told = _documented(_Source(prefix, address), name, sorted(ports, key=_by_number))
    elif style == "engine27":
        prefix = upper.replace("-", "_")
        told = _engine27(_Source(prefix, address), name, sorted(ports, key=_by_number))
    else:
        prefix = upper.replace("-", "_")
        told = _engine28(_Source(prefix, address), name, sorted(ports, key=_tcp_first))
    return [*told, *_copies(prefix, env)]


class _Port(NamedTuple):
    number: int
    protocol: str


def _by_number(port: _Port) -> tuple[int, bool, str]:
    """Sort by number, tcp first on a tie (engines 20 to 27 leave udp and sctp to chance)."""
    return port.number, port.protocol.lower() != "tcp", port.protocol


def _tcp_first(port: _Port) -> tuple[bool, str, int]:
    return port.protocol != "tcp", port.protocol, port.number


class _Source(NamedTuple):
    """The prefix of a link's variable names, and the address in their values."""

    prefix: str
    address: str

    def url(self, port: _Port) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{port.protocol}://{host}:{port.number}"

    def key(self, port: _Port, protocol: str | None = None) -> str:
        return f"{self.prefix}_PORT_{port.number}_{(protocol or port.protocol).upper()}"

    def each(self, port: _Port) -> Iterator[Variable]:
        """Yield what the engines set for one port."""
        key = self.key(port)
        yield key, self.url(port)
        yield f"{key}_ADDR", self.address
        yield f"{key}_PORT", str(port.number)
        yield f"{key}_PROTO", port.protocol


def _documented(source: _Source, name: str, ports: Sequence[_Port]) -> Iterator[Variable]:
    """Yield the variables in the order of the guide's example."""
    yield f"{source.prefix}_NAME", name
    if ports:
        yield f"{source.prefix}_PORT", source.url(ports[0])
    for port in ports:
        url, address, number, protocol = source.each(port)
        yield from (url, protocol, number, address)


def _engine27(source: _Source, name: str, ports: Sequence[_Port]) -> Iterator[Variable]:
    if ports:
        yield f"{source.prefix}_PORT", source.url(ports[0])
    at = 0
    while at < len(ports):
        start, last = ports[at], _last_in_row(ports, at)
        if last <= at + 1:  # a range has three ports or more
            at += 1
            continue
        key, end = source.key(start), ports[last]
        yield f"{key}_START", source.url(start)
        yield f"{key}_ADDR", source.address
        yield f"{key}_PROTO", start.protocol
        yield f"{key}_PORT_START", str(start.number)
        # Engine quirk: the first port's number with the last port's protocol.
        key = source.key(start, end.protocol)
        yield f"{key}_END", source.url(end)
        yield f"{key}_PORT_END", str(end.number)
        at = last + 1
    for port in ports:
        yield from source.each(port)
    yield f"{source.prefix}_NAME", name


def _last_in_row(ports: Sequence[_Port], first: int) -> int:
    """Return where a range ends. The engine counts ports: 53/tcp, 53/udp, 55/tcp are one range."""
    for at in range(first + 1, len(ports)):
        if ports[at].number > ports[first].number + (at - first):
            return at - 1
    return len(ports) - 1


def _engine28(source: _Source, name: str, ports: Sequence[_Port]) -> Iterator[Variable]:
    if ports:
        yield f"{source.prefix}_PORT", source.url(ports[0])
        start = end = ports[0]
    for at, port in enumerate(ports):
        yield from source.each(port)
        if port == (end.number + 1, end.protocol):
            end = port
            if at < len(ports) - 1:
                continue
        # So the range's variables come after those of the port that ended it.
        if start != end:
            key = source.key(start)
            yield f"{key}_START", source.url(start)
            yield f"{key}_PORT_START", str(start.number)
            yield f"{key}_END", source.url(end)
            yield f"{key}_PORT_END", str(end.number)
        start = end = port
    yield f"{source.prefix}_NAME", name


def _copies(prefix: str, env: Iterable[str]) -> Iterator[Variable]:
    for entry in env:
        name, equals, value = entry.partition("=")
        if equals and name not in _NOT_COPIED:
            yield f"{prefix}_ENV_{name}", value


@dataclass(frozen=True, slots=True)
class Written:
    """The lines of a variables file, and the variables that it cannot express."""

    lines: tuple[str, ...]
    left_out: tuple[str, ...]
    """The names, unquoted: they may be any text."""


def written(form: Form, told: Iterable[Variable]) -> Written:
    """Write variables so that their readers get the same values; leave out the others."""
    write = {"dotenv": _dotenv, "export": _export, "shell": _shell}[form]
    lines, left_out = [], []
    for name, value in told:
        line = write(name, value)
        if line is None:
            left_out.append(name)
        else:
            lines.append(line)
    return Written(tuple(lines), tuple(dict.fromkeys(left_out)))


def _shell(name: str, value: str) -> str | None:
    """Quote for a POSIX shell, which reads all but a single quote unchanged in single quotes."""
    if not _SHELL_NAME.fullmatch(name):
        return None
    quoted = value.replace("'", "'\\''")
    return f"{name}='{quoted}'"


def _export(name: str, value: str) -> str | None:
    line = _shell(name, value)
    return None if line is None else f"export {line}"


def _dotenv(name: str, value: str) -> str | None:
    """Return a line that Docker and Compose read alike; None if there is none.

    Their readers differ in quotes, escapes and `$`. `docker run --env-file` takes quotes as part of
    the value; a link's own variables need none.
    """
    if not _DOTENV_NAME.fullmatch(name):
        return None
    if _BARE.fullmatch(value):
        return f"{name}={value}"
    if _SINGLE.fullmatch(value):
        return f"{name}='{value}'"
    return f'{name}="{value}"' if _DOUBLE.fullmatch(value) else None


def copied(env: Iterable[str], copies: Copies) -> list[str]:
    """Return the entries, `NAME=VALUE`, of a source's environment that `copies` names."""
    if copies == "all":
        return [*env]
    return [entry for entry in env if entry.partition("=")[0] in copies]
