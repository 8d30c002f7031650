"""docs/output.md against the code: each shape and each event that it names, and no other."""

from __future__ import annotations

import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from reconciler import features, log
from reconciler.contract import Reconciler
from reconciler.hosts.reconciler import LocalHosts
from reconciler.views.migrate import Move
from reconciler.views.report import Row

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/output.md").read_text()
EVENT = re.compile(r"[a-z_]+\.[a-z-]+")


def table(heading: str) -> list[list[str]]:
    """Return the cells of the rows below a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line[:1] == "|"]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def first_column(heading: str) -> list[str]:
    return [name for row in table(heading) for name in quoted(row[0])]


def test_rows_of_links() -> None:
    documented = first_column("`relinkd links --format json`")
    assert documented == [each.name for each in fields(Row)]


def test_moves() -> None:
    assert first_column("`relinkd migrate --format json`") == [each.name for each in fields(Move)]


def events_of(module: object) -> set[str]:
    found = {value for name, value in vars(module).items() if name.isupper()}
    return {each for each in found if isinstance(each, str) and EVENT.fullmatch(each)}


def test_every_event_is_there_and_no_other() -> None:
    names = [each.name for each in iter_modules(features.__path__)]
    modules = [import_module(f"reconciler.features.{name}.reconciler") for name in names]
    kinds = {
        each.kind
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Reconciler) and hasattr(each, "kind")
    }
    hows = ("refused", "failed", "resumed")
    known = {f"{kind}.{how}" for kind in {*kinds, LocalHosts.kind} for how in hows}
    for module in (log, *modules):
        known |= events_of(module)
    labels = {each for each in known if each.startswith("relinkd.")}
    assert {*first_column("The log")} == (known - labels) | {"host_names.changed"}


def test_every_field_of_a_log_line_is_one_that_the_code_gives() -> None:
    """By name: that it is given with that event is for the tests of each event to say."""
    given = set()
    for file in (ROOT / "reconciler").rglob("*.py"):
        given |= set(re.findall(r"[(\s]([a-z_]+)=", file.read_text()))
        given |= set(re.findall(r"\"([a-z_]+)\"", file.read_text()))
    documented = {name for row in table("The log") for name in quoted(row[3])}
    assert documented <= given
    assert {"cause", "of", "after_ms"} <= given
