"""docs/reliability.md, from docs/proof alone: no figure is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.prove.plot import plot
from tests.prove.trial import ORDINARY, PROOF, TRIALS, Trial

REPORT = PROOF.parent / "reliability.md"
_HEAD = """# Reliability

What was tried, how often, and what was seen. `make prove` makes this page from the figures in
[proof/](proof/); a test compares the two. Each trial causes its fault for real, on private engines,
and fails if a promise breaks. `make test` plays the same trials in short (`RELINKD_REPEATS=10 make
test` for ten times as much). The page keeps what broke, too.
"""
_NOT_ORDINARY = """\
Trials run every process at ordinary priority. The figures of these are older, and may be better
than what ordinary priority gives:
"""


def proofs(kind: str = "trial") -> list[Mapping[str, Any]]:
    """Return what is kept of each trial and engine, or of another kind that is kept there."""
    kept = (json.loads(path.read_text("utf-8")) for path in sorted(PROOF.glob("*.json")))
    return [each for each in kept if kind in each]


def report(kept: Sequence[Mapping[str, Any]]) -> str:
    """Return the report on these."""
    return "\n".join([_HEAD, *_priorities(kept), *_sections(kept)])


def pictures(kept: Sequence[Mapping[str, Any]]) -> dict[Path, str]:
    """Return what is to be drawn of these: the files below docs/proof, and what they hold."""
    return {
        PROOF / _picture(proof): plot(
            f"{TRIALS[proof['trial']].title}, on {proof['engine']}",
            f"from the first to the last of {proof['count']:,} {proof['unit']}, "
            f"in {proof['seconds'] / 60:.0f} minutes",
            proof["series"],
        )
        for proof in kept
        if proof["series"]
    }


def _picture(proof: Mapping[str, Any]) -> str:
    return f"{proof['trial']}.svg"


def write() -> Path:
    """Write the report on all that is kept, and draw what is to be drawn."""
    kept = proofs()
    for path, picture in pictures(kept).items():
        path.write_text(picture, "utf-8")
    REPORT.write_text(report(kept), "utf-8")
    return REPORT


def _priorities(kept: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each trial whose figures were not made at ordinary priority."""
    sentences = []
    for trial in TRIALS.values():
        rows = [row for row in kept if row["trial"] == trial.name and row["scheduling"] != ORDINARY]
        for how in sorted({row["scheduling"] for row in rows}):
            engines = ", ".join(sorted(row["engine"] for row in rows if row["scheduling"] == how))
            sentences.append(
                f"- {trial.title} (on {engines}): {how}.".replace("a fake one", "a fake engine")
            )
    if sentences:
        yield _NOT_ORDINARY
        yield from [*sentences, ""]


def _sections(kept: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for trial in TRIALS.values():
        rows = [proof for proof in kept if proof["trial"] == trial.name]
        if rows:
            yield from _section(trial, sorted(rows, key=lambda row: str(row["engine"])))


def _section(trial: Trial, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"## {trial.title}\n"
    yield f"{trial.what}\n"
    names = list(dict.fromkeys(name for row in rows for name in row["figures"]))
    yield table_row("", *(row["engine"] for row in rows))
    yield table_row(*["---"] * (len(rows) + 1))
    yield table_row(
        "promise", *("held" if row["held"] else f"broken: {row['broken']}" for row in rows)
    )
    yield table_row(trial.unit, *(f"{row['count']:,}" for row in rows))
    for name in names:
        yield table_row(name, *(_number(row["figures"].get(name, "")) for row in rows))
    yield ""
    for row in rows:
        if row["series"]:
            yield f"![{trial.title}: what relinkd used](proof/{_picture(row)})\n"
    circumstances = sorted({made(row) for row in rows})
    yield f"<sub>{'; '.join(circumstances)}</sub>\n"


def made(row: Mapping[str, Any]) -> str:
    """Return when, by what and where something was measured."""
    return (
        f"{row['date']}, relinkd {row['relinkd']}, Python {row['python']}, "
        f"aiodocker {row['aiodocker']}, {row['machine']}"
    )


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def table_row(*cells: object) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"
