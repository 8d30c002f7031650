"""Labels that ask for more than the hosts file: what each means, and what is wrong with it.

Whatever acts on the engine takes both: the label, and the daemon's `--allow` for it.
"""

import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any, Literal, get_args

from reconciler.core.declare import (
    ENABLE,
    FAMILY,
    LABELS,
    LONGEST,
    PREFIX,
    WAIT_FOR,
    alias_problem,
    quoted,
)
from watchers.model import Container

Power = Literal["exec", "signal", "restart", "env-file", "private", "host-names"]
"""What `--allow` may name."""
POWERS: tuple[Power, ...] = get_args(Power)

ENV_FILE = "relinkd.env-file"
ENV_COPIES = "relinkd.env-copies"
ON_CHANGE = "relinkd.on-change"
PRIVATE = "relinkd.private"
"""Also the label of the networks that relinkd makes."""
HOST_NAMES = "relinkd.host-names"

MOST_PROBLEMS = 20
"""Wrong labels of one container that are told of; whoever makes it may give it any number."""
LONGEST_COMMAND = 4096
"""Characters of `relinkd.on-change`; to split a text takes its time."""
MOST_NAMES = 50
"""Names of the host's that one container may ask for, and variables it may name."""

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
    """A label's value cannot be; the text says which label, and what can."""


@dataclass(frozen=True, slots=True)
class OnChange:
    """How a recipient wants to be told that a source's address changed."""

    power: Literal["exec", "signal", "restart"]
    argv: tuple[str, ...] = ()
    """What is run in it; nothing for `restart`."""


def env_file(labels: Labels) -> str | None:
    """Return where in the container its variables are wanted as a file.

    Raises:
        OptionError: no absolute path of plain characters, or one of the system's own.
    """
    path = labels.get(ENV_FILE)
    if path is None:
        return None
    if not _PATH.fullmatch(path) or {".", ".."} & {*path.split("/")} or len(path) > 255:  # noqa: PLR2004 - a name's limit
        raise OptionError(
            f"{ENV_FILE}: {quoted(path)} is no absolute path of letters, digits and ._@+-"
        )
    if path in _ENGINES_OWN or path.startswith(tuple(f"{each}/" for each in _NOT_OURS)):
        raise OptionError(f"{ENV_FILE}: {path} is the system's own")
    return path


def env_copies(labels: Labels) -> Copies:
    """Return which of a source's own variables are wanted as copies: none by default.

    Raises:
        OptionError: a word of it is no variable's name.
    """
    words = _words(labels, ENV_COPIES)
    if words == ["all"]:
        return "all"
    for word in words:
        if not _VARIABLE.fullmatch(word):
            raise OptionError(f"{ENV_COPIES}: {quoted(word)} is no variable's name; or write all")
    return frozenset(words)


def on_change(labels: Labels) -> OnChange | None:
    """Return how a container wants to be told of changed addresses.

    Raises:
        OptionError: none of `signal:NAME`, `exec:COMMAND`, `restart`.
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
            raise OptionError(f"{ON_CHANGE}: {quoted(what)} is no signal; write signal:HUP")
        return OnChange("signal", ("kill", f"-{name}", "1"))
    if how == "exec":
        try:
            argv = shlex.split(what)
        except ValueError as error:
            raise OptionError(f"{ON_CHANGE}: {quoted(what)}: {error}") from error
        if not argv or not argv[0] or "\0" in what:
            raise OptionError(f"{ON_CHANGE}: no command after exec:")
        return OnChange("exec", tuple(argv))
    raise OptionError(
        f"{ON_CHANGE}: {quoted(text)} is none of signal:NAME, exec:COMMAND and restart"
    )


def private(labels: Labels) -> bool:
    """Return whether a container takes part in private networks.

    Raises:
        OptionError: neither true nor false.
    """
    text = labels.get(PRIVATE, "false").strip().lower()
    if text not in ("true", "false"):
        raise OptionError(
            f"{PRIVATE}: {quoted(labels[PRIVATE])} is neither true nor false; taken as false"
        )
    return text == "true"


def host_names(labels: Labels) -> tuple[str, ...]:
    """Return the names that a container wants in the host's own hosts file, in its order.

    Raises:
        OptionError: one of them is no host name, or they are too many.
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
    """Return what a label needs to be allowed; None where it asks for nothing.

    Raises:
        OptionError: its value cannot be.
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
    """Yield what is wrong with the `relinkd.*` labels themselves, each with what was meant."""
    found = _label_problems(container, allowed)
    yield from islice(found, MOST_PROBLEMS)
    if next(found, None) is not None:
        yield f"more than {MOST_PROBLEMS} labels are wrong; the others are not looked at"


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
            yield f"{FAMILY}: {quoted(value)} is none of 4, 6, both; taken as both"
        elif name == ENABLE and value.strip().lower() not in ("true", "false"):
            yield f"{ENABLE}: {quoted(value)} is neither true nor false; taken as true"


def _acting_problem(name: str, labels: Labels, allowed: Collection[Power]) -> Iterator[str]:
    try:
        power = power_of(name, labels)
    except OptionError as error:
        yield str(error)
        return
    if power is not None and power not in allowed:
        yield f"{name}: not acted on, since relinkd runs without --allow {power}"
    elif name == ENV_COPIES and ENV_FILE not in labels:
        yield f"{ENV_COPIES}: there is no {ENV_FILE} for them to go into"
