"""What each feature needs: the table of docs/power.md as data, which tests compare with engines."""

from __future__ import annotations

import re
from typing import NamedTuple

BEGIN, END = "<!-- power -->", "<!-- /power -->"
"""Between these docs/power.md has the table."""

LOOK = (
    "GET /version",
    "GET /containers/json",
    "GET /containers/{id}/json",
    "GET /networks",
    "GET /networks/{id}",
)
EVENTS = "GET /events"
PLACE = "GET /info"
"""Where no container shows the engine's directory: asked once, by `run` and by every command."""
ABROAD = ("GET /info", "GET /nodes")
"""What this host is called, and on a Swarm's manager the others; refused, they have addresses."""
EXEC = ("POST /containers/{id}/exec", "POST /exec/{id}/start", "GET /exec/{id}/json")
ARCHIVE = ("GET /containers/{id}/archive", "PUT /containers/{id}/archive")
LEAVE = ("POST /networks/{id}/disconnect", "DELETE /networks/{id}")
SOCKET, FILES, HOSTS = (
    "engine's socket",
    "`containers` (writable)",
    "host's `/etc/hosts` (writable)",
)
LOOKING = "`links`, `explain`, `graph`, `env`, `migrate`, `sync`, `clean`"
_SHORT = {"what `run` asks": (*LOOK, EVENTS), "what `run` asks but for `/events`": LOOK}


class Power(NamedTuple):
    """One row: a feature, what it asks of the engine, and what it must be given."""

    feature: str
    calls: tuple[str, ...]
    """Each as METHOD /PATH, without the version and the query."""
    mounts: tuple[str, ...] = (SOCKET, FILES)
    capabilities: str = "none"
    allow: str = ""


RUN = Power("`run`: links, as the default", (*LOOK, EVENTS))
BY_EXEC = Power(
    "the same with `--delivery exec`", (*RUN.calls, ARCHIVE[0], *EXEC), (SOCKET,), allow="exec"
)
ROWS = (
    RUN,
    RUN._replace(
        feature="the same where the engine remaps users", capabilities="`DAC_OVERRIDE`, `LEASE`"
    ),
    BY_EXEC,
    Power("`relinkd.env-file`", (*RUN.calls, *ARCHIVE, *EXEC), allow="env-file"),
    Power("`relinkd.on-change: signal:…`", (*RUN.calls, *EXEC), allow="signal"),
    Power("`relinkd.on-change: exec:…`", (*RUN.calls, *EXEC), allow="exec"),
    Power(
        "`relinkd.on-change: restart`",
        (*RUN.calls, "POST /containers/{id}/restart"),
        allow="restart",
    ),
    Power(
        "`relinkd.private`",
        (*RUN.calls, "POST /networks/create", "POST /networks/{id}/connect", *LEAVE),
        allow="private",
    ),
    Power("`relinkd.host-names`", RUN.calls, (SOCKET, FILES, HOSTS), allow="host-names"),
    Power("links to other hosts (`//`)", (*RUN.calls, *ABROAD)),
    Power("`check`, `links --watch`", RUN.calls, (SOCKET, "`containers`")),
    Power(LOOKING, LOOK, (SOCKET, "`containers` (writable for `sync`, `clean`)")),
    Power("`clean` of private networks", (*LOOK, *LEAVE)),
    Power("`clean` of files of variables", (*LOOK, *ARCHIVE, *EXEC)),
    Power("`ports`", ("GET /version", "GET /containers/{id}/json"), (SOCKET,)),
    Power("completion of names", ("GET /version", "GET /containers/json"), (SOCKET,)),
    Power("`health`", (), ("run directory",)),
)

_KINDS = (
    (re.compile(r"/v\d+\.\d+/"), "/"),
    (re.compile(r"\?.*"), ""),
    (re.compile(r"/(containers|exec)/(?!json$)[^/]+"), r"/\1/{id}"),
    (re.compile(r"/networks/(?!create$)[^/]+"), "/networks/{id}"),
)


def kind(method: str, path: str) -> str:
    """Return which kind of call a request is."""
    for pattern, put in _KINDS:
        path = pattern.sub(put, path)
    return f"{method} {path}"


def markdown() -> str:
    """Return the table as docs/power.md has it."""
    lines = [
        "| feature | asks of the engine | mounts | capabilities | `--allow` |",
        "|---|---|---|---|---|",
    ]
    for row in ROWS:
        calls = ", ".join(f"`{call}`" for call in row.calls) if row is RUN else _calls(row.calls)
        cells = row.feature, calls, ", ".join(row.mounts) or "none", row.capabilities
        lines.append(f"| {' | '.join(cells)} | {f'`{row.allow}`' if row.allow else ''} |")
    return "\n".join(lines) + "\n"


def _calls(calls: tuple[str, ...]) -> str:
    if not calls:
        return "nothing"
    for name, known in _SHORT.items():
        if calls[: len(known)] == known:
            more = [f"`{call}`" for call in calls[len(known) :]]
            return ", ".join([name, *more])
    return ", ".join(f"`{call}`" for call in calls)
