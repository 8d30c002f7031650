"""Labels that ask for more than hosts entries: their meaning and their problems.

A label that makes relinkd act on the engine also needs the daemon's `--allow` for it.
"""

import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any, Literal, get_args

from reconciler.links.declare import (
    ENABLE,
    FAMILY,
    LABELS,
    LONGEST,
    PREFIX,
    WAIT_FOR,
    alias_problem,
)
from reconciler.links.text import quoted
from watchers.model import Container

Power = Literal["exec", "signal", "restart", "env-file", "private", "host-names"]
"""The values of `--allow`."""
POWERS: tuple[Power, ...] = get_args(Power)

ENV_FILE = "relinkd.env-file"
ENV_COPIES = "relinkd.env-copies"
ON_CHANGE = "relinkd.on-change"
PRIVATE = "relinkd.private"
"""Also the label of the networks that relinkd makes."""
HOST_NAMES = "relinkd.host-names"

MOST_PROBLEMS = 20
"""Most label problems that relinkd reports for one container; it may have any number."""
LONGEST_COMMAND = 4096
"""Most characters of `relinkd.on-change`: splitting a long text blocks the loop."""
MOST_NAMES = 50
"""Most host names that one container may ask for, and most variables that it may name."""

Copies = frozenset[str] | Literal["all"]
Labels = Mapping[str, str]

_LONGEST_NAME = 80
_SEPARATORS = re.compile(r"[,\s]+")
_PATH = re.compile(r"(?:/[A-Za-z0-9_.@+-]+)+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIGNAL = re.compile(r"[A-Z][A-Z0-9+-]{1,9}|[1-9]|[1-5][0-9]|6[0-4]")
_NOT_OURS = ("/dev", "/proc", "/sys")
_ENGINES_OWN = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")


class OptionError(ValueError):
    """A label has an invalid value; the text names the label and the valid values."""


@dataclass(frozen=True, slots=True)
class OnChange:
    """How a recipient asks to be notified of a source's changed address."""

    power: Literal["exec", "signal", "restart"]
    argv: tuple[str, ...] = ()
    """The command that runs in the recipient; empty for `restart`."""


def env_file(labels: Labels) -> str | None:
    """Return the path in the container for its variables file; None if it wants none.

    Raises:
        OptionError: The value is not an absolute path of plain characters, or the path belongs to
            the system.
    """
    path = labels.get(ENV_FILE)
    if path is None:
        return None
    if not _PATH.fullmatch(path) or {".", ".."} & {*path.split("/")} or len(path) > 255:  # noqa: PLR2004 - a name's limit
        raise OptionError(
            f"{ENV_FILE}: {quoted(path)} is not an absolute path of letters, digits and ._@+-"
        )
    if path in _ENGINES_OWN or path.startswith(tuple(f"{each}/" for each in _NOT_OURS)):
        raise OptionError(f"{ENV_FILE}: {path} belongs to the system")
    return path


def env_copies(labels: Labels) -> Copies:
    """Return the names of a source's own variables to copy; empty by default.

    Raises:
        OptionError: A word of the value is not a variable name.
    """
    words = _words(labels, ENV_COPIES)
    if words == ["all"]:
        return "all"
    for word in words:
        if not _VARIABLE.fullmatch(word):
            raise OptionError(f"{ENV_COPIES}: {quoted(word)} is not a variable name or all")
    return frozenset(words)


def on_change(labels: Labels) -> OnChange | None:
    """Return how a container asks to be notified of changed addresses; None if it does not.

    Raises:
        OptionError: The value is not `signal:NAME`, `exec:COMMAND` or `restart`.
    """
    text = labels.get(ON_CHANGE)
    if text is None:
        return None
    if len(text) > LONGEST_COMMAND:
        raise OptionError(f"{ON_CHANGE}: longer than {LONGEST_COMMAND} characters")
    how, _, what = text.strip().partition(":")
    if how == "restart" and not what:
        return OnChange("restart")
    if how == "signal":
        name = what.strip().upper().removeprefix("SIG")
        if not _SIGNAL.fullmatch(name):
            raise OptionError(
                f"{ON_CHANGE}: {quoted(what)} is not a signal; write for example signal:HUP"
            )
        return OnChange("signal", ("kill", f"-{name}", "1"))
    if how == "exec":
        try:
            argv = shlex.split(what)
        except ValueError as error:
            raise OptionError(f"{ON_CHANGE}: {quoted(what)}: {error}") from error
        if not argv or not argv[0] or "\0" in what:
            raise OptionError(f"{ON_CHANGE}: no command after exec:")
        return OnChange("exec", tuple(argv))
    raise OptionError(f"{ON_CHANGE}: {quoted(text)} is not signal:NAME, exec:COMMAND or restart")


def private(labels: Labels) -> bool:
    """Return whether a container takes part in private networks.

    Raises:
        OptionError: The value is neither true nor false.
    """
    text = labels.get(PRIVATE, "false").strip().lower()
    if text not in ("true", "false"):
        raise OptionError(
            f"{PRIVATE}: {quoted(labels[PRIVATE])} is neither true nor false; taken as false"
        )
    return text == "true"


def host_names(labels: Labels) -> tuple[str, ...]:
    """Return the names that a container asks for in the host's own hosts file, in their order.

    Raises:
        OptionError: A name is not a host name, or there are too many.
    """
    words = _words(labels, HOST_NAMES)
    for word in words:
        if problem := alias_problem(word, ""):
            raise OptionError(f"{HOST_NAMES}: {problem.removeprefix('alias ')}")
    return tuple(dict.fromkeys(word.lower() for word in words))


def _words(labels: Labels, label: str) -> list[str]:
    words = [word for word in _SEPARATORS.split(labels.get(label, "")[:LONGEST]) if word]
    if len(words) > MOST_NAMES:
        raise OptionError(f"{label} holds more than {MOST_NAMES} names")
    return words


_READ: Mapping[str, Callable[[Labels], Any]] = {
    ENV_COPIES: env_copies,
    ENV_FILE: env_file,
    HOST_NAMES: host_names,
    ON_CHANGE: on_change,
    PRIVATE: private,
}


def power_of(label: str, labels: Labels) -> Power | None:
    """Return the `--allow` value that a label needs; None if it needs none.

    Raises:
        OptionError: The label's value is invalid.
    """
    value = _READ[label](labels)
    if isinstance(value, OnChange):
        return value.power
    plain: dict[str, Power] = {
        ENV_COPIES: "env-file",
        ENV_FILE: "env-file",
        HOST_NAMES: "host-names",
        PRIVATE: "private",
    }
    return plain[label] if value else None


def label_problems(container: Container, allowed: Collection[Power] = ()) -> Iterator[str]:
    """Yield the problems of the `relinkd.*` labels, each with the likely intent."""
    found = _label_problems(container, allowed)
    yield from islice(found, MOST_PROBLEMS)
    if next(found, None) is not None:
        yield f"more than {MOST_PROBLEMS} labels are wrong; relinkd did not check the others"


def _label_problems(container: Container, allowed: Collection[Power]) -> Iterator[str]:
    for name, value in sorted(container.labels.items()):
        if name in _READ:
            yield from _acting_problem(name, container.labels, allowed)
        elif name.startswith(PREFIX) and name not in LABELS:
            near = get_close_matches(name[:_LONGEST_NAME], (*LABELS, *_READ), n=1, cutoff=0.0)
            yield f"unknown label {quoted(name)}: did you mean {near[0]}?"
        elif name == WAIT_FOR and value.strip() not in ("running", "healthy"):
            yield f"{WAIT_FOR}: {quoted(value)} is neither running nor healthy; taken as running"
        elif name == FAMILY and value.strip() not in ("4", "6", "both"):
            yield f"{FAMILY}: {quoted(value)} is not 4, 6 or both; taken as both"
        elif name == ENABLE and value.strip().lower() not in ("true", "false"):
            what = f"{quoted(value)} is neither true nor false"
            yield f"{ENABLE}: {what}; taken as true, write false to opt out"


def _acting_problem(name: str, labels: Labels, allowed: Collection[Power]) -> Iterator[str]:
    try:
        power = power_of(name, labels)
    except OptionError as error:
        yield str(error)
        return
    if power is not None and power not in allowed:
        yield f"{name}: not acted on, since relinkd runs without --allow {power}"
    elif name == ENV_COPIES and ENV_FILE not in labels:
        yield f"{ENV_COPIES}: has no effect without {ENV_FILE}"
