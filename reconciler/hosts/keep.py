"""The lines that stay in a hosts file while an answer of the engine is missing."""

from collections.abc import Set as AbstractSet

from reconciler.hosts.block import engine_addresses, read_block
from reconciler.links.desired import HELD, HELD_V6, Desired, EngineLine, Line
from watchers.mirror import Mirror


def lines_for(
    want: Desired, data: bytes, mirror: Mirror
) -> tuple[tuple[Line, ...], tuple[EngineLine, ...]]:
    """Return the lines that a file of `data` should hold now.

    A live line of an alias whose link is not known stays, unless no source is up or another
    container is known to have its address. So does one that no known container declares, while not
    all were inspected.
    """
    if not want.unsure and want.complete:
        return want.lines, want.engine_lines
    block = [line for line in read_block(data) or () if line.address is not None]
    declared = {link.declaration.alias.lower() for link in want.links}
    kept: dict[tuple[str, int], list[Line]] = {}
    for line in block:
        alias = line.names[0].lower()
        undeclared = alias not in declared and not want.complete
        if undeclared or (alias in want.unsure and _may_stay(line, want.unsure[alias], mirror)):
            kept.setdefault((alias, line.family), []).append(line)
    lines: list[Line] = []
    live = {alias for alias, _ in kept}
    for line in want.lines:
        key = line.names[0].lower(), line.family
        if key not in kept:
            # A line of the other family may be another source's.
            lines.append(line._replace(address=None) if key[0] in live else line)
        elif kept[key]:
            lines += kept[key]
            kept[key] = []
    lines += (line for rest in kept.values() for line in rest)
    return tuple(lines), _engine_lines(want, data, mirror)


def _engine_lines(want: Desired, data: bytes, mirror: Mirror) -> tuple[EngineLine, ...]:
    """Return the engine's own lines that count as true; those of an unsure alias stay."""
    found = []
    for each in want.engine_lines:
        sources = want.unsure.get(each.alias)
        addresses = each.addresses
        if sources is not None:
            there = engine_addresses(data, each.alias)
            addresses = addresses | {one for one in there if _is_theirs(one, sources, mirror)}
        found.append(EngineLine(each.alias, addresses))
    return tuple(found)


def _may_stay(line: Line, sources: AbstractSet[str], mirror: Mirror) -> bool:
    return line.address in (HELD, HELD_V6) or _is_theirs(line.address or "", sources, mirror)


def _is_theirs(address: str, sources: AbstractSet[str], mirror: Mirror) -> bool:
    """Whether a source is up, and no other container is known to have the address.

    Where all sources are on other hosts, one of them must have it: what is heard of those does not
    depend on this host's engine.
    """
    if not sources or not mirror.holders(address) <= sources:
        return False
    foreign = mirror.foreign
    if not sources <= foreign.containers.keys():
        return True
    return any(foreign.may_have(each, address) for each in sources)
