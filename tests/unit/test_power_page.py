"""docs/power.md says what each feature needs; `tests/engine/test_power.py` checks that it is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.links.options import POWERS
from tests.power import BEGIN, END, ROWS, kind, markdown

PAGE = (Path(__file__).parents[2] / "docs/power.md").read_text()


def test_the_page_has_the_table_that_the_engines_were_asked_about() -> None:
    assert PAGE.count(BEGIN) == PAGE.count(END) == 1
    table = PAGE.partition(BEGIN)[2].partition(END)[0]
    assert table.strip() == markdown().strip()


def test_every_power_has_a_row() -> None:
    assert {row.allow for row in ROWS if row.allow} == {*POWERS}


def test_what_is_not_allowed_asks_and_does_no_more() -> None:
    """But for `clean`, by which a person has what was allowed once undone."""
    rows = [row for row in ROWS if not row.feature.startswith("`clean` of ")]
    asking = {call for row in rows if not row.allow for call in row.calls}
    assert all(call.startswith("GET ") for call in asking)


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("/version", "GET /version"),
        ("/v1.51/containers/json?all=1", "GET /containers/json"),
        ("/v1.41/containers/shop-db/json", "GET /containers/{id}/json"),
        ("/v1.51/containers/0123/archive?path=/etc/json", "GET /containers/{id}/archive"),
        ("/v1.51/networks", "GET /networks"),
        ("/v1.51/networks/create", "GET /networks/create"),
        ("/v1.51/networks/back/disconnect", "GET /networks/{id}/disconnect"),
        ("/v1.51/exec/0123/start", "GET /exec/{id}/start"),
        ("/v1.51/events?filters=%7B%7D", "GET /events"),
    ],
)
def test_kinds_of_calls(path: str, call: str) -> None:
    assert kind("GET", path) == call
