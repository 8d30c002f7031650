"""Laws for the bytes of an engine: its answers and its events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address

from reconciler.features.host_names.names import claims
from reconciler.features.host_names.names import desired as host_names_wanted
from reconciler.hosts.block import (
    apply,
)
from reconciler.hosts.plan import plan
from reconciler.links.desired import Desired, desired
from reconciler.links.graph import LinkGraph
from reconciler.links.options import (
    label_problems,
)
from reconciler.views.explain import explain
from reconciler.views.graph import dot, mermaid, picture, text
from reconciler.views.graph_svg import svg
from reconciler.views.migrate import as_compose, as_run, moves
from reconciler.views.report import rows
from tests.fuzz.hosts_file import BASE, kept
from tests.fuzz.said import LONGEST_SAID, harmless
from watchers.engine import negotiate
from watchers.errors import EngineError
from watchers.events import hints_of
from watchers.lines import Lines
from watchers.mirror import Mirror
from watchers.model import (
    VIRTUAL,
    ContainerAnswer,
    Hint,
    ListAnswer,
    NetworkAnswer,
)
from watchers.parse import (
    parse_event,
    parse_inspected,
    parse_list,
    parse_network,
    parse_network_ids,
    parse_offer,
    parse_version,
)
from watchers.swarm import parse_here, parse_nodes
from watchers.texts import NAME
from watchers.wire import MalformedError


def answers(data: bytes) -> None:
    """Read bytes as the answer to each question that is asked of an engine."""
    with suppress(MalformedError):
        parsed(data)


def parsed(data: bytes) -> None:
    """Read bytes as each of the engine's answers, and live with what came of it."""
    mirror, graph = Mirror(), LinkGraph()
    found = [*(parse_list(data) or ())]
    one = parse_inspected(data)
    if one is not None:
        found.append(one)
        assert one.detail is not None
    for container in found:
        assert container.id
        assert len(container.name) <= 4096
        hash(container.networks)
    network = parse_network(data)
    if network is not None:
        addresses = [each for end in network[1].values() for each in (end.ipv4, end.ipv6) if each]
        for task in network[2] or ():
            assert NAME(task.name)
            assert task.address == VIRTUAL or str(ip_address(task.address)) == task.address
            addresses += [each for each in (task.endpoint.ipv4, task.endpoint.ipv6) if each]
        for address in (*addresses, *network[0].gateways):
            assert str(ip_address(address)) == address
    here, nodes = parse_here(data), parse_nodes(data) or {}
    for name in (*nodes.values(), *([here.name] if here else [])):
        assert NAME(name)
    said = parse_event(data)
    hint = said if isinstance(said, Hint) else None
    assert hint is None or hint.action
    _asked_on_its_own(data)

    changed = mirror.apply_answer(ListAnswer(mirror.next_revision(), tuple(found)))
    if one is not None:
        changed |= mirror.apply_answer(ContainerAnswer(one.id, mirror.next_revision(), one))
    if network is not None:
        changed |= mirror.apply_answer(
            NetworkAnswer(network[0].id, mirror.next_revision(), *network)
        )
    if hint is not None:
        changed |= mirror.apply_event(hint)
    graph.update(changed, mirror)
    told(mirror, graph)


def _asked_on_its_own(data: bytes) -> None:
    assert all(parse_network_ids(data) or ())
    offer = parse_offer(data)
    assert offer is None or "env=" not in repr(offer)
    newest, oldest, _ = parse_version(data)
    try:
        assert negotiate(newest, oldest) >= (1, 41)
    except EngineError as error:
        assert len(str(error)) < LONGEST_SAID  # noqa: PT017 - a target is no test


def told(mirror: Mirror, graph: LinkGraph) -> None:
    """Say of all that is known what is wanted, and everything that is said of it."""
    drawn: list[tuple[Desired, bytes | None]] = []
    for container in [*mirror.containers.values()]:
        want = desired(container, graph, mirror)
        done = plan(BASE, want.lines, want.engine_lines)
        data = apply(BASE, done.edits)
        live = {slot for slot in want.lines if slot.address is not None}
        assert {*done.live} <= live
        kept(BASE, data, want.engine_lines)
        drawn.append((want, data))
        for row in rows(want, data, mirror):
            for said in (row.alias, row.network, row.reason):
                harmless(said[:LONGEST_SAID])
        for alias in {link.declaration.alias for link in want.links}:
            explain(container, alias, graph, mirror, data)
        for problem in label_problems(container):
            harmless(problem)
    shown = picture(drawn, mirror)
    for draw in (text, mermaid, dot, svg):
        assert isinstance(draw(shown), str)
    found = [*moves(mirror.containers.values(), mirror)]
    as_run(found)
    as_compose(found)
    host_names_wanted(
        [each.id for each in mirror.containers.values() if claims(each)], mirror, ".x"
    )


def events(data: bytes) -> None:
    """Read a stream in pieces: what it says does not follow from where it was cut."""
    size, stream = 1 + (data[0] if data else 0), data[1:]

    def read(pieces: Iterator[bytes]) -> list[Hint] | str:
        lines = Lines()
        found: list[Hint] = []
        try:
            for piece in pieces:
                found += hints_of(lines.feed(piece))
        except EngineError as error:
            return type(error).__name__
        return found

    whole = read(iter([stream]))
    cut = read(stream[at : at + size] for at in range(0, len(stream), size))
    assert cut == whole
    mirror = Mirror()
    for hint in whole if isinstance(whole, list) else ():
        mirror.apply_event(hint)
