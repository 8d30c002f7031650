"""The page of `--listen` in a browser, while links change."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.browser.conftest import Site, missing

if what := missing():
    pytest.skip(f"the page is not tested: {what}", allow_module_level=True)

pytestmark = pytest.mark.xdist_group("browser")  # one browser for all

SEVERITY = ["failed", "refused", "unreachable", "shadowed", "down", "waiting", "idle", "linked"]
HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>\"'&`${1}"


def cells(page: Any, recipient: str, alias: str) -> Any:
    """Return the table's row of a link."""
    name = re.compile(rf"^{re.escape(recipient)} {re.escape(alias)}$")
    return page.get_by_role("row").filter(has=page.get_by_role("button", name=name))


def visible(page: Any) -> list[str]:
    """Return the names of the rows that are seen, from top to bottom."""
    found: list[str] = page.locator("#rows th button:visible").all_inner_texts()
    return found


def test_problems_are_on_top_and_counted(still: Site) -> None:
    page = still.open()
    states = page.locator("#rows td.state:visible > span:nth-child(2)").all_inner_texts()
    words = [state.partition(",")[0] for state in states]
    assert words == sorted(words, key=SEVERITY.index)
    assert sorted(words) == ["down", "linked", "linked", "linked", "linked", "refused", "waiting"]
    assert page.inner_text("#count") == "7 of 7 links; 3 need attention"
    assert page.inner_text("#daemon").endswith(": ok")


def test_a_restart_is_seen_while_it_happens(site: Site) -> None:
    page = site.open()
    row = cells(page, "api", "db")
    old = row.locator("td.mono").inner_text()
    graph = page.locator("#drawing svg")
    graph.wait_for()
    db = site.stack.name_id("db")
    site.stack.client.stop(db)
    row.get_by_text("down").wait_for()
    row.get_by_text(
        re.compile(rf"{re.escape(old)} → nothing, \d+(\.\d+)? ms after .* of db")
    ).wait_for()
    assert visible(page)[0] != "web api"
    site.stack.client.start(db)
    row.get_by_text("linked").wait_for()
    row.get_by_text(re.compile(r"nothing → [\d.]+, \d+(\.\d+)? ms after .* of db")).wait_for()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", row.locator("time").inner_text())
    new = site.stack.address(db)
    assert row.locator("td.mono").inner_text() == new
    page.locator(f"#drawing text:has-text('linked {new}')").first.wait_for()
    assert re.search(r"^(api|web), (db|store): nothing → ", page.inner_text("#news"))


def test_the_filter_narrows_as_one_types(still: Site) -> None:
    page = still.open()
    box = page.get_by_role("searchbox", name="Filter")
    box.press_sequentially("web")
    assert visible(page) == ["web search", "web api", "web store"]
    box.press_sequentially(" LINKED")
    assert visible(page) == ["web api", "web store"]
    assert page.inner_text("#count").startswith("2 of 7 links")
    box.fill("there is none")
    assert visible(page) == []
    assert page.get_by_text("No link matches.").is_visible()
    box.fill("")
    page.get_by_role("button", name="1 refused").click()
    assert visible(page) == ["batch localhost"]
    assert page.get_by_role("button", name="1 refused").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="1 refused").click()
    assert len(visible(page)) == 7


def test_a_row_opens_by_keyboard_to_what_explain_says(still: Site) -> None:
    page = still.open()
    button = cells(page, "web", "search").get_by_role("button")
    button.focus()
    page.keyboard.press("Enter")
    why = page.locator(f"#{button.get_attribute('aria-controls')}")
    why.get_by_text("recipient web (running)").wait_for()
    said = still.stack.relinkd.call("explain", "web", "search", code=1)
    assert why.locator(".steps").inner_text() == said.rstrip("\n")
    assert button.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Enter")
    assert not why.is_visible()
    assert button.get_attribute("aria-expanded") == "false"


def test_a_container_lights_up_all_that_it_reaches_and_that_reaches_it(still: Site) -> None:
    page = still.open()
    box = page.get_by_role("button", name=re.compile("^api running "))
    box.hover()

    def lit() -> set[str]:
        found = page.locator("[data-box].lit").evaluate_all(
            "boxes => boxes.map(box => box.getAttribute('aria-label').split(' ')[0])"
        )
        return set(found)

    assert lit() == {"api", "db", "cache", "mail", "web"}
    assert page.locator("#drawing svg.dim").count() == 1
    page.mouse.move(1, 1)
    assert page.locator("#drawing svg.dim").count() == 0
    box.focus()
    for _ in range(10):
        page.keyboard.press("ArrowUp")
    assert page.locator("#drawing svg.dim").count() == 1
    assert page.evaluate("document.activeElement.dataset.box") == "0"
    page.keyboard.press("End")
    assert lit() == {"web", "api", "db", "cache", "mail", "search"}
    page.keyboard.press("Enter")
    assert page.get_by_role("searchbox").input_value() == "web"
    assert len(visible(page)) == 3


def test_one_that_is_gone_is_gone_from_the_page(site: Site) -> None:
    page = site.open()
    site.stack.client.remove(site.stack.name_id("batch"))
    cells(page, "batch", "localhost").wait_for(state="detached")
    assert page.inner_text("#count") == "6 of 6 links; 2 need attention"


def test_without_relinkd_it_says_so_and_comes_back(site: Site) -> None:
    page = site.open()
    site.stack.relinkd.stop()
    page.get_by_text("cannot be reached").wait_for()
    assert len(visible(page)) == 7
    site.stack.client.stop(site.stack.name_id("db"))
    site.stack.relinkd.start()
    page.locator("#daemon", has_text=": ok").wait_for()
    cells(page, "api", "db").get_by_text("down").wait_for()
    # What the browser says of a connection that is refused is no fault of the page.
    site.faults[:] = [each for each in site.faults if "ERR_" not in each]


# -- what anyone may have named --------------------------------------------------------------------


def test_hostile_text_in_each_field_is_text(still: Site) -> None:
    change = {
        "time": "2026-01-02T03:04:05.678+00:00", "recipient": HOSTILE, "alias": HOSTILE,
        "family": 4, "old": HOSTILE, "new": HOSTILE, "state": HOSTILE, "cause": HOSTILE,
        "of": HOSTILE, "after_ms": HOSTILE,
    }  # fmt: skip
    row = {
        "recipient": HOSTILE, "alias": HOSTILE, "source": HOSTILE, "declared_by": HOSTILE,
        "state": HOSTILE, "addresses": [HOSTILE], "network": HOSTILE, "held": True,
        "reason": HOSTILE, "also": [HOSTILE], "last_change": change,
    }  # fmt: skip
    picture = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="90">'
        "<title>x</title><script>window.hacked=1</script>"
        '<g data-box="0" onload="window.hacked=1" onfocus="window.hacked=1">'
        "<title>&lt;img src=x onerror=window.hacked=1&gt; (running)</title>"
        '<rect width="150" height="50"/><text y="20">x</text></g></svg>'
    )
    first = "".join(
        f"event: {name}\ndata: {json.dumps(data)}\n\n"
        for name, data in (
            ("daemon", {"version": HOSTILE, "line": HOSTILE}),
            ("links", {"revision": 1}),
        )
    )
    late = f"retry: 60000\nevent: link.changed\ndata: {json.dumps(change)}\n\n"
    streams = iter([f"retry: 500\n{first}", late])
    page = still.open(loaded=False)
    revision = {"Relinkd-Revision": "1"}
    page.route("**/links", lambda route: route.fulfill(json=[row], headers=revision))
    page.route(
        "**/graph.svg",
        lambda route: route.fulfill(body=picture, content_type="image/svg+xml", headers=revision),
    )
    page.route(
        "**/explain?*",
        lambda route: route.fulfill(json={"stands": False, "steps": [HOSTILE]}),
    )
    page.route(
        "**/events",
        lambda route: route.fulfill(body=next(streams), content_type="text/event-stream"),
    )
    page.goto(still.url)
    page.wait_for_selector("#rows tr:visible")
    page.locator("#rows th button").click()
    page.locator(".steps", has_text="onerror").wait_for()
    page.locator("#news", has_text="onerror").wait_for()
    page.locator("[data-box]").focus()
    page.locator("[data-box]").click()
    page.get_by_role("searchbox").fill("")
    page.get_by_text("onerror").last.wait_for()
    text = page.locator("#rows").inner_text()
    # recipient, alias and its other name; source; state; reason; address; old, new, cause and of;
    # opened: source, addresses, network, declared by, reason, the step.
    assert text.count(HOSTILE) >= 3 + 1 + 1 + 1 + 1 + 4 + 6
    assert page.locator("img, #rows script, #drawing script").count() == 0
    assert page.evaluate("window.hacked") is None
    # The browser says that it refused the drawing's handlers.
    still.faults[:] = [each for each in still.faults if "Content Security Policy" not in each]


def test_a_page_of_another_name_reads_nothing(still: Site, chromium: Any) -> None:
    page = chromium.new_page()
    answer = page.goto(still.url.replace("127.0.0.1", "rebound.localhost"))
    assert answer.status == 421
    assert "api" not in page.inner_text("body")
    page.close()


# -- sizes, colours, readers -----------------------------------------------------------------------


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_it_fits_and_axe_finds_nothing(site: Site, axe: str, size: str) -> None:
    db = site.stack.name_id("db")
    page = site.open(phone=size == "phone")
    page.locator("#drawing svg").wait_for()
    site.stack.client.stop(db)
    cells(page, "api", "db").get_by_text("down").wait_for()
    site.stack.client.start(db)
    cells(page, "api", "db").get_by_text("linked").wait_for()
    cells(page, "api", "mail").get_by_role("button").click()
    page.locator(".steps", has_text="hosts file").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    source = page.get_by_role("columnheader", name="Source")
    assert source.is_visible() == (size == "desktop")
    page.evaluate(axe)
    for colour in ("light", "dark"):
        page.emulate_media(color_scheme=colour)
        site.picture(page, f"{size}-{colour}", whole=size == "desktop")
        found = page.evaluate("axe.run()")
        wrong = [(each["id"], [n["html"] for n in each["nodes"]]) for each in found["violations"]]
        assert wrong == []
        assert found["passes"]


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_500_links_fit_and_are_filtered_at_once(still: Site, size: str) -> None:
    rows = [
        {
            "recipient": f"team{at % 25}-web-{at}", "alias": "db", "source": "db",
            "declared_by": "label", "state": "linked" if at % 50 else "down",
            "addresses": [f"10.0.{at // 250}.{at % 250}"], "network": "back", "held": False,
            "reason": "", "also": [], "last_change": None,
        }
        for at in range(500)
    ]  # fmt: skip
    page = still.open(phone=size == "phone", loaded=False)
    page.route(
        "**/links", lambda route: route.fulfill(json=rows, headers={"Relinkd-Revision": "1"})
    )
    page.goto(still.url)
    page.wait_for_selector("#rows tr:visible")
    assert page.inner_text("#count") == "500 of 500 links; 10 need attention"
    assert not page.locator("#drawing").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator("#rows tr:visible").count() == 500
    box = page.get_by_role("searchbox")
    box.fill("team7-")
    assert len(visible(page)) == 20
    box.fill("")
    if size == "phone":
        still.picture(page, "500-phone", whole=False)
    page.get_by_role("button", name="10 down").click()
    assert len(visible(page)) == 10
