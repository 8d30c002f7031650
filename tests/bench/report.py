"""docs/performance.md, from the bench's files in docs/proof alone: no figure is typed by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.field import CONNECT, INOTIFY, RELINKD
from tests.bench.plot import strips
from tests.prove.report import made, proofs, table_row
from tests.prove.trial import PROOF

REPORT = PROOF.parent / "performance.md"
AIM = 0.995
"""Of a source's starts, the share with every file right before its first instruction."""
CPU_AIM = 1 / 3
MAIN = 10
_HEAD = """# How early, and at what cost

Made by `make bench ARGS="--against COMMIT"` from the figures in [proof/](proof/); a test compares
the two. `make bench-quick` shows the main rows in three minutes.

A source is stopped, or removed and made again; another container takes the address that it left;
the source starts at a new one. It first writes a file of its own. A third process watches that file
and the recipients' hosts files with one inotify instance, so which came before which is the
kernel's word. (A recipient's own first process reads its hosts file first of all, and keeps that.)
A round counts as *before the first instruction* if every recipient's file has its
last change to the new address before that. *Lead* is how long before, *after `connect`* how long
after the engine told of the connection (less than 0: before it), *after the source's own line* how
long after the engine wrote the new address into the source's own hosts file. *Wrong* counts the
rounds in which a file showed the alias at an address while that was another container's.

All take turns in one run, round by round, and nobody has a priority. The others are stopped
meanwhile. *Busy* means as many busy loops as there are processors, and one more process that reads
the same hosts files without a pause, which also looks for wrong addresses. The bare loops are
bounds, not peers: they trust what they read, keep plain files, and one takes no address back. Times
are of this machine, which had other work where the load average says so: compare the rows of one
table.
"""
_LABELS = (
    "who keeps the files",
    "rounds",
    "before the first instruction",
    "before `start`",
    "lead, ms: median / worst",
    "after the source's own line, ms: median / worst",
    "after `connect`, ms: median / worst",
    "wrong",
)


_KINDS = {
    "restart": "Restarts",
    "first start": "First starts",
    "recipient": "A recipient's own first process",
}


def kept() -> list[Mapping[str, Any]]:
    """Return what is kept of each engine, and of the scale."""
    return proofs("bench")


def report(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the report on these."""
    engines = [each for each in found if "cells" in each]
    return "\n".join(
        [
            _HEAD,
            *_aims(engines),
            *(line for each in engines for line in _engine(each)),
            *(line for each in found if "rows" in each for line in _scale(each)),
        ]
    )


def pictures(found: Sequence[Mapping[str, Any]]) -> dict[Path, str]:
    """Return what is to be drawn of these: the files below docs/proof, and what they hold."""
    return {
        PROOF / _picture(each, cell): strips(
            f"{_titled(cell)}, engine {each['engine']}",
            {row["who"].replace("`", ""): row["leads"] for row in cell["rows"]},
        )
        for each in found
        for cell in each.get("cells", [])
        if _drawn(cell)
    }


def write() -> Path:
    """Write the report on all that is kept, and draw what is to be drawn."""
    found = kept()
    for path, picture in pictures(found).items():
        path.write_text(picture, "utf-8")
    REPORT.write_text(report(found), "utf-8")
    return REPORT


def cells(cell: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the rows of a table on one cell."""
    for each in cell["rows"]:
        count = each["rounds"]
        yield [
            each["who"],
            str(count),
            _share(each["before_instruction"], count),
            _share(each["before_start"], count),
            _pair(each["lead"]),
            _pair(each["after_signal"]),
            _pair(each["after_connect"]),
            str(each["wrong"]),
        ]


def _share(found: int | None, count: int) -> str:
    return "-" if found is None else f"{found} of {count}"


def _pair(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:g} / {spread['worst']:g}" if spread else "-"


def _titled(cell: Mapping[str, Any]) -> str:
    kind = _KINDS[cell["kind"]]
    return f"{kind}, {_many(cell['recipients'])}, {'busy' if cell['busy'] else 'idle'}"


def _many(recipients: int) -> str:
    return "1 recipient" if recipients == 1 else f"{recipients} recipients"


def _full(cell: Mapping[str, Any]) -> bool:
    return bool(cell["busy"] and cell["recipients"] == MAIN)


def _drawn(cell: Mapping[str, Any]) -> bool:
    return _full(cell) and any(row["leads"] for row in cell["rows"])


def _picture(each: Mapping[str, Any], cell: Mapping[str, Any]) -> str:
    return f"bench-{each['bench']}-{cell['kind'].replace(' ', '-')}.svg"


def _aims(engines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "## Aims\n"
    yield table_row("engine", "what", "aim", "measured", "reached")
    yield table_row(*["---"] * 5)
    for each in engines:
        for cell in each["cells"]:
            if _full(cell):
                ours = next(found for found in cell["rows"] if found["who"] == RELINKD)
                share = ours["before_instruction"] / ours["rounds"]
                missed = f"no: by {100 * (AIM - share):.1f} points"
                yield table_row(
                    each["engine"],
                    f"{_titled(cell)}: before the first instruction",
                    f"{AIM:.1%}",
                    f"{share:.1%} of {ours['rounds']}",
                    "yes" if share >= AIM else missed,
                )
        yield from (table_row(each["engine"], *found) for found in _delays(each["cells"]))
        for cost in each["cpu"]:
            if "ratio" in cost:
                missed = f"no: {cost['ratio'] / CPU_AIM:.1f} times the aim"
                yield table_row(
                    each["engine"],
                    f"CPU of a restart, {_many(cost['recipients'])}, against {each['against']}",
                    f"{CPU_AIM:.2f} x",
                    f"{cost['ratio']:.2f} x",
                    "yes" if cost["ratio"] <= CPU_AIM else missed,
                )
        wrong = sum(
            found["wrong"]
            for cell in each["cells"]
            for found in cell["rows"]
            if found["who"].startswith(RELINKD)
        )
        yield table_row(
            each["engine"],
            "rounds with an alias at another's address, all of relinkd's",
            "0",
            wrong,
            "no" if wrong else "yes",
        )
    yield ""


def _delays(cells: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """Yield how long relinkd takes from each signal, against the bare loop on that signal."""
    for cell in cells:
        if cell["busy"] or cell["recipients"] != 1 or cell["kind"] != "restart":
            continue
        rows = {found["who"]: found for found in cell["rows"]}
        for signal, who, aim in (("after_signal", INOTIFY, 2.0), ("after_connect", CONNECT, 1.5)):
            ours, bare = (rows[each][signal]["median"] for each in (RELINKD, who))
            # Right before `connect`, it has not waited for that.
            if ours > 0 and bare > 0:
                yield (
                    f"{_titled(cell)}: delay against the {who}",
                    f"{aim:g} x",
                    f"{ours / bare:.1f} x ({ours:g} / {bare:g} ms)",
                    "yes" if ours <= aim * bare else f"no: {ours / bare / aim:.1f} times the aim",
                )


def _engine(each: Mapping[str, Any]) -> Iterator[str]:
    yield f"## Engine {each['engine']}\n"
    for cell in each["cells"]:
        yield f"**{_titled(cell)}** (load average before it: {cell['load_before']})\n"
        yield table_row(*_LABELS)
        yield table_row(*["---"] * len(_LABELS))
        yield from (table_row(*found) for found in cells(cell))
        yield ""
        if _drawn(cell):
            yield f"![{_titled(cell)}: lead of each round](proof/{_picture(each, cell)})\n"
    if each["cpu"]:
        names = list(each["cpu"][0]["ms"])
        yield "**CPU of a restart**, nobody else busy, medians\n"
        yield table_row("recipients", *(f"{name}, ms" for name in names), "ratio")
        yield table_row(*["---"] * (len(names) + 2))
        for cost in each["cpu"]:
            spent = (f"{cost['ms'][name]:.1f}" for name in names)
            yield table_row(cost["recipients"], *spent, cost.get("ratio", ""))
        yield ""
    yield from (f"- {line}" for line in each["skipped"])
    if each["skipped"]:
        yield ""
    before = f"; the relinkd before it is {each['against']}" if each["against"] else ""
    yield f"<sub>{made(each)}{before}</sub>\n"


def _scale(each: Mapping[str, Any]) -> Iterator[str]:
    yield "## With many containers, on a fake engine\n"
    yield table_row("what", "measured", "aim", "more")
    yield table_row(*["---"] * 4)
    yield from (table_row(*found) for found in each["rows"])
    yield ""
    yield f"<sub>{made(each)}</sub>\n"
