"""The addresses that a hosts file gives a resolver."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from reconciler.hosts.block import NOT_READY, NotReady, read_block
from reconciler.hosts.plan import Plan, plan
from reconciler.links.desired import Desired, Line, Live
from reconciler.links.reach import Link
from reconciler.links.text import quoted
from watchers.model import Family

_NO_DAEMON = "is `relinkd run` running?"
_FINAL = frozenset({"shadowed", "refused", "idle", "failed"})
"""States that the content of the file does not change."""


class Unread(Enum):
    """Stands for the bytes of a file that this process may not read."""

    UNREAD = "not looked at"


def live_in(slots: Iterable[Line], carried: Iterable[tuple[str, str]] = ()) -> Live:
    """Return the addresses that lines and the engine's own true lines give a resolver.

    The order of an alias's lines has no meaning: replicas take any free line.
    """
    found: dict[tuple[str, Family], list[str]] = {}
    for slot in slots:
        if slot.address is not None:
            found.setdefault((slot.names[0].lower(), slot.family), []).append(slot.address)
    for alias, address in sorted(carried):
        found.setdefault((alias, 6 if ":" in address else 4), []).append(address)
    return {key: tuple(sorted(addresses)) for key, addresses in found.items()}


def live_before(data: bytes | None) -> Live:
    """Return the addresses that a file's block gave a resolver before relinkd changed it."""
    return live_in(read_block(data) or ()) if data else {}


def live_found(want: Desired, data: bytes | None) -> Live:
    """Return the addresses that a file gives a resolver now, with the engine's own true lines."""
    done = compare(want, data).done
    return live_in(read_block(data) or (), done.carried if done else ()) if data else {}


def live_after(done: Plan) -> Live:
    """Return the addresses that a file gives a resolver after a plan."""
    return live_in(done.live, done.carried)


def changes(old: Live, new: Live) -> Iterator[tuple[str, Family, str, str]]:
    """Yield the differences: alias, family, old and new addresses (empty text for none)."""
    for key in sorted(old.keys() | new.keys()):
        before, after = " ".join(old.get(key, ())), " ".join(new.get(key, ()))
        if before != after:
            yield (*key, before, after)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A hosts file, compared with its wanted lines."""

    readable: bool
    done: Plan | None
    """None if relinkd would not write into the file."""
    missing: frozenset[str] = frozenset()
    """Aliases, in lower case, for which the file gives wrong or no addresses."""
    now: Live = field(default_factory=dict)
    """The addresses that relinkd's lines give a resolver."""
    trouble: str = ""
    """Why the daemon cannot make the file right; empty if it does not say."""
    looked: bool = True
    """False if the file was not read: the states of links come from the engine alone."""


def compare(want: Desired, data: bytes | Unread | None) -> Comparison:
    """Compare a file with its wanted lines; `data` is None if the file cannot be read."""
    if data is Unread.UNREAD:
        return Comparison(readable=False, done=None, looked=False)
    if data is None:
        return Comparison(readable=False, done=None, trouble=want.trouble)
    try:
        done = plan(data, want.lines, want.engine_lines)
    except (NotReady, ValueError):
        return Comparison(readable=True, done=None)
    now = live_before(data)
    missing = frozenset(alias for alias, *_ in changes(now, live_in(done.live)))
    return Comparison(
        readable=True, done=done, missing=missing, now=now, trouble=want.trouble or _NO_DAEMON
    )


def with_file(link: Link, done: Plan | None) -> Link:
    """Return the link with its state in the file: a foreign line may shadow it."""
    line = done.shadowed.get(link.declaration.alias.lower()) if done else None
    if line is None or link.state not in ("linked", "down", "waiting", "unreachable"):
        return link
    reason = f"another line of the hosts file wins: {quoted(line)}"
    return replace(link, state="shadowed", reason=reason, targets=(), held=False)


def judge(link: Link, file: Comparison) -> Link:
    """Return the link with its state in the file: `failed` if the file is wrong."""
    if not file.looked:
        return link
    if not file.readable:
        reason = file.trouble or "its hosts file cannot be read"
        return replace(link, state="failed", reason=reason, targets=()) if link.targets else link
    if file.done is None:
        return replace(link, state="failed", reason=NOT_READY, targets=()) if link.targets else link
    judged = with_file(link, file.done)
    alias = judged.declaration.alias.lower()
    if alias not in file.missing or judged.state in _FINAL:
        return judged
    there = [address for family in (4, 6) for address in file.now.get((alias, family), ())]
    if judged.state == "linked" and not there:
        reason = f"not in the hosts file; {file.trouble}"
        return replace(judged, state="failed", reason=reason)
    if there:
        reason = f"the hosts file still has {', '.join(there)}; {file.trouble}"
        return replace(judged, state="failed", reason=reason)
    return judged
