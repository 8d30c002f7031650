"""The site of docs/, and what its pages say of the code: limits, and the words of `explain`."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

import pytest

from reconciler import log
from reconciler.features.private import networks
from reconciler.hosts import leased_write
from reconciler.links import declare
from reconciler.views.explain import explain
from reconciler.web import view
from tests.builders import World, compose, container, network
from tests.reference import ROOT
from tests.unit.report_parts import HOSTS, delivered, world

NAV = re.findall(r"^ +(?:- .+: )(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)


def outside() -> dict[str, str]:
    """Return the pages that docs/hooks.py takes from outside docs/."""
    tree = ast.parse((ROOT / "docs/hooks.py").read_text())
    (found,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "OUTSIDE"
    )
    pages: dict[str, str] = ast.literal_eval(found) if found is not None else {}
    return pages


def test_the_navigation_has_every_page_once() -> None:
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")]
    assert sorted(NAV) == sorted([*pages, *outside().values()])
    assert all((ROOT / path).is_file() for path in outside())


def test_what_makes_the_site_is_pinned_by_hash() -> None:
    text = (ROOT / "docs/requirements.txt").read_text()
    outline = re.sub(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$", "hash", text, flags=re.MULTILINE)
    assert re.fullmatch(r"([a-z0-9-]+==\S+ \\\n(hash\n)+)+", outline)
    assert "mkdocs==" in text


LIMITS = {
    "declarations in one label, or of one recipient in the config file": f"{declare.MOST}",
    "characters that relinkd reads of a label": f"{declare.LONGEST:,}",
    "a hosts file": f"{leased_write._LARGEST >> 20} MiB, {leased_write._MOST_LINES:,} lines",
    "recipients of one private network": f"{networks.MOST_MEMBERS - 1}",
    "private networks": f"{2 ** (28 - 16):,} of the default pool",
    "a picture of the graph on the page": f"{view.MOST_DRAWN:,} links",
    "log lines about one container": f"{log.BURST} at once, then two a second",
}


def test_the_limits_are_those_of_the_code() -> None:
    page = (ROOT / "docs/limits.md").read_text()
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \| .+ \|$", page, re.MULTILINE))
    assert {what: rows[what] for what in LIMITS} == LIMITS
    assert log.RATE == 2


# -- docs/troubleshooting.md -----------------------------------------------------------------------

SYMPTOMS = re.findall(
    r"^\| .+ \| `(.+?)` \| .+ \|$",
    (ROOT / "docs/troubleshooting.md").read_text().partition("## By what relinkd says")[0],
    re.MULTILINE,
)


def missing() -> World:
    there = world()
    there.remove("db")
    return there


def outside_the_project() -> World:
    there = World(network("back"))
    there.add(container("web", "db", labels=compose("shop", "web")), back="10.0.0.9")
    there.add(container("db"), back="10.0.0.2")
    return there


def stopped() -> World:
    there = world()
    there.hear("die", "db")
    return there


def health(found: str | None) -> World:
    there = World(network("back"))
    labels = {"relinkd.wait-for": "healthy"}
    there.add(container("web", "db", labels=labels), back="10.0.0.9")
    there.add(container("db", health=found), back="10.0.0.2")
    return there


def apart() -> World:
    there = World(network("back"), network("front"))
    there.add(container("web", "db"), back="10.0.0.9")
    there.add(container("db"), front="10.0.0.2")
    return there


def mounted() -> World:
    return world(mounts=["/etc/hosts"])


def stranded() -> World:
    there = World(network("back"))
    there.add(container("vpn", started=3 * 10**9), back="10.0.0.9")
    there.add(container("web", "db", mode="container:vpn", started=2 * 10**9))
    there.add(container("db"), back="10.0.0.2")
    return there


def undeclared() -> World:
    there = World(network("back"))
    there.add(container("web"), back="10.0.0.9")
    there.add(container("db"), back="10.0.0.2")
    return there


def held() -> World:
    there = World(network("back"))
    there.add(container("web", "mine:db"), back="10.0.0.9")
    there.add(container("db"), back="10.0.0.2")
    return there


CAUSES: list[Callable[[], World]] = [
    missing,
    outside_the_project,
    stopped,
    lambda: health("unhealthy"),
    lambda: health(None),
    apart,
    mounted,
    stranded,
    undeclared,
    held,
    world,  # with a foreign line
    world,
]


@pytest.mark.parametrize("row", range(len(CAUSES)))
def test_explain_shows_what_the_page_quotes(row: int) -> None:
    assert len(SYMPTOMS) == len(CAUSES)
    there, shown = CAUSES[row](), SYMPTOMS[row]
    others = b"192.0.2.1\tdb\n" if "192.0.2.1" in shown else b""
    owner = "vpn" if "vpn" in shown else "web"
    data = delivered(there, owner, HOSTS + others)
    stands, steps = explain(there["web"], "db", there.graph, there.mirror, data)
    assert stands is (shown == "state: linked")
    assert shown in [step.strip() for step in steps]
