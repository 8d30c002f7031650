"""What `--listen` serves: each path, header and limit, over real connections on loopback."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import msgspec
import pytest

from reconciler.cli.links import STATES
from reconciler.hosts.files import HostsFiles
from reconciler.links.text import plain
from reconciler.views.explain import explain
from reconciler.views.graph import picture
from reconciler.views.graph_svg import svg
from reconciler.views.report import gathered, owners, rows
from reconciler.web import feed, view
from reconciler.web.hostheader import Listening
from tests.builders import World, container, network
from tests.webclient import Stream, place, raw, serving
from tests.wired import wired
from watchers.errors import EngineGoneError
from watchers.model import Hint

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
PATHS = {
    "/": "text/html; charset=utf-8",
    "/page.js": "text/javascript; charset=utf-8",
    "/page.css": "text/css; charset=utf-8",
    "/healthz": "text/plain; charset=utf-8",
    "/readyz": "text/plain; charset=utf-8",
    "/metrics": "text/plain; version=0.0.4; charset=utf-8",
    "/links": "application/json",
    "/explain?recipient=web&alias=db": "application/json",
    "/graph.svg": "image/svg+xml",
    "/events": "text/event-stream",
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """`web` has a link that stands, one of each that does not, and one with three names."""
    world = World(network("back"), network("front"))
    world.add(container("db"), back="10.0.0.2")
    world.add(container("off", state="exited"))
    world.add(container("far"), front="10.0.0.7")
    web = container(
        "web",
        "db off far nobody db:localhost",
        endpoint_links={"back": ["far:far", "far:far-1", "far:shop-far-1"]},
    )
    world.add(web, back="10.0.0.9")
    world.add(container("still", "db", state="exited"))
    place(world, tmp_path, "web")
    return world


# -- paths -----------------------------------------------------------------------------------------


async def test_every_path_answers_with_the_same_strict_headers(
    world: World, tmp_path: Path
) -> None:
    async with wired(world, tmp_path) as wiring, serving(wiring) as site:
        for path, kind in PATHS.items():
            async with site.ask(path) as answer:
                assert (answer.status, answer.headers["Content-Type"]) == (200, kind), path
                assert answer.headers["Content-Security-Policy"] == CSP
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Cache-Control"] == "no-store"
                assert answer.headers["Referrer-Policy"] == "no-referrer"
                assert answer.headers["Server"] == "relinkd"
                assert "Access-Control-Allow-Origin" not in answer.headers
        async with site.ask("/nothing") as answer:
            assert answer.status == 404
            assert answer.headers["Content-Security-Policy"] == CSP


async def test_only_get_and_head(world: World, tmp_path: Path) -> None:
    async with wired(world, tmp_path) as wiring, serving(wiring) as site:
        for path, kind in PATHS.items():
            for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                async with site.ask(path, method, data=b"x") as answer:
                    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
            async with site.ask(path, "HEAD") as answer:
                assert answer.status == 200
                assert answer.headers["Content-Type"] == kind
                assert await answer.read() == b""


async def test_links_are_the_rows_of_the_command(world: World, tmp_path: Path) -> None:
    async with wired(world, tmp_path) as wiring, serving(wiring) as site:
        found = await site.json("/links")
        with HostsFiles(tmp_path) as files:
            wanted = gathered(
                row
                for owner in owners(wiring.graph, world.mirror)
                for row in rows(wiring.records.desired(owner), files.read(owner.id), world.mirror)
            )
        last = [each.pop("last_change") for each in found]
        assert found == json.loads(msgspec.json.encode(wanted))
        assert {each["state"] for each in found} == {
            "linked",
            "down",
            "unreachable",
            "waiting",
            "refused",
            "idle",
        }
        assert {each["state"] for each in found} <= {*STATES}
        assert [each["also"] for each in found if each["declared_by"] == "endpoint"] == [
            ["far-1", "shop-far-1"]
        ]
        assert last == [None] * len(found)  # nothing changed since it serves


async def test_explain_is_what_the_command_says(world: World, tmp_path: Path) -> None:
    async with wired(world, tmp_path) as wiring, serving(wiring) as site:
        data = (tmp_path / world.id("web") / "hosts").read_bytes()
        web = world.mirror.containers[world.id("web")]
        for alias in ("db", "off", "other"):
            stands, steps = explain(web, alias, wiring.graph, world.mirror, data)
            found = await site.json(f"/explain?recipient=web&alias={alias}")
            assert found == {"stands": stands, "steps": steps}
        assert await site.status("/explain?recipient=absent&alias=db") == 404
        assert await site.status("/explain?recipient=web") == 400


async def test_the_graph_is_the_drawing_of_the_command_with_numbers(
    world: World, tmp_path: Path
) -> None:
    async with wired(world, tmp_path) as wiring, serving(wiring) as site:
        drawn = await site.text("/graph.svg")
        with HostsFiles(tmp_path) as files:
            wanted = [
                (wiring.records.desired(owner), files.read(owner.id))
                for owner in owners(wiring.graph, world.mirror)
            ]
            whole = picture(wanted, world.mirror)
    assert re.sub(r' data-(box|from|to)="\d+"', "", drawn) == re.sub(
        "<style>.*</style>\n", "", svg(whole)
    )
    names = [node.name for node in whole.nodes]
    boxes = {int(at): title for at, title in re.findall(r'data-box="(\d+)">\s*<title>(\S+)', drawn)}
    assert boxes == dict(enumerate(names))
    arrows = re.findall(r'data-from="(\d+)" data-to="(\d+)"', drawn)
    keys = [node.key for node in whole.nodes]
    assert [(keys[int(a)], keys[int(b)]) for a, b in arrows] == [
        (source, edge.recipient) for edge in whole.edges for source in edge.sources
    ]


async def test_a_graph_of_too_many_links_is_not_drawn(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "MOST_DRAWN", 2)
    async with (
        wired(world, tmp_path) as wiring,
        serving(wiring) as site,
        site.ask("/graph.svg") as answer,
    ):
        assert answer.status == 422
        assert "relinkd graph --only RECIPIENT" in await answer.text()


async def test_ready_once_synced_while_there_is_an_engine(world: World, tmp_path: Path) -> None:
    async with serving() as site:
        assert (await site.text("/healthz")) == "ok\n"
        assert await site.status("/readyz") == 503
        assert await site.status("/links") == 503
        assert await site.status("/graph.svg") == 503
        site.daemon.standby = "ok: standing by, the writer is process 7"
        async with site.ask("/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "standing by\n")
        assert (await site.text("/healthz")) == "ok\n"
    async with (
        wired(world, tmp_path) as wiring,
        serving(wiring, synced=False) as site,
    ):
        for path in ("/readyz", "/links", "/graph.svg", "/explain?recipient=web&alias=db"):
            async with site.ask(path) as answer:
                assert (answer.status, await answer.text()) == (503, "not synced yet\n")
        wiring.loop.synced()
        assert await site.status("/links") == 200
        assert (await site.text("/readyz")) == "ready\n"
        wiring.loop.lost(EngineGoneError("x"))
        async with site.ask("/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "no engine\n")


# -- events ----------------------------------------------------------------------------------------


async def test_a_change_comes_with_its_milliseconds(world: World, tmp_path: Path) -> None:
    async with (
        wired(world, tmp_path) as wiring,
        serving(wiring) as site,
        site.ask("/events") as got,
    ):
        stream = Stream(got)
        assert (await stream.next("daemon"))[1]["line"] == "ok"
        first = (await stream.next("links"))[1]["revision"]
        world.hear("die", "db")
        died = time.time_ns() - 7_000_000
        wiring.loop.changed({world.id("db")}, Hint("die", world.id("db"), "db", died))
        wiring.loop.flush()
        number, change = await stream.next("link.changed")
        assert number is not None
        assert change["recipient"] == "web"
        assert (change["alias"], change["old"], change["new"]) == ("db", "10.0.0.2", None)
        assert (change["cause"], change["of"], change["state"]) == ("die", "db", "down")
        assert 7 <= change["after_ms"] < 7000
        assert (await stream.next("links"))[1]["revision"] > first
        (row,) = (
            each
            for each in await site.json("/links")
            if (each["recipient"], each["alias"]) == ("web", "db")
        )
        assert row["state"] == "down"
        assert row["last_change"] == change
        site.daemon.said = "engine lost: x"
        assert (await stream.next("daemon"))[1]["line"] == "engine lost: x"
        async with site.ask("/events", headers={"Last-Event-ID": str(number - 1)}) as late:
            assert await Stream(late).next("link.changed") == (number, change)


async def test_links_are_announced_once_a_full_look_is_complete(
    world: World, tmp_path: Path
) -> None:
    async with (
        wired(world, tmp_path) as wiring,
        serving(wiring, synced=False) as site,
        site.ask("/events") as got,
    ):
        stream = Stream(got)
        await stream.next("daemon")
        (listener,) = wiring.records.listeners
        listener("link.changed", world.mirror.containers[world.id("web")], {"alias": "db"})
        await stream.next("link.changed")
        assert stream.names == ["daemon", "link.changed"]
        wiring.loop.synced()
        await stream.next("links")


async def test_a_stream_that_was_away_gets_the_last_changes_alone(world: World) -> None:
    kept = feed.Feed()
    web = container("web")
    for at in range(feed.KEPT + 5):
        kept.add("link.changed", web, {"alias": f"a{at}"})
    numbers = [number for number, _, _ in kept.since(0)]
    assert numbers == list(range(6, feed.KEPT + 6))
    last = kept.last(web.id, "A3")
    assert last is not None
    assert last["alias"] == "a3"
    kept.forget(web.id)
    assert kept.last(web.id, "a3") is None
    assert world.mirror.containers


async def test_what_is_known_of_a_container_goes_with_it(world: World, tmp_path: Path) -> None:
    async with wired(world, tmp_path) as wiring:
        kept = feed.Feed()
        view.View(wiring, kept)
        web = world.mirror.containers[world.id("web")]
        kept.add("link.changed", web, {"alias": "db"})
        world.remove("web")
        wiring.loop.changed({web.id}, Hint("destroy", web.id))
        assert kept.last(web.id, "db") is None


# -- hosts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "port", "admitted", "refused"),
    [
        (
            "127.0.0.1",
            9090,
            ["127.0.0.1:9090", "localhost:9090", "LOCALHOST:9090"],
            [
                "127.0.0.1",
                "127.0.0.1:9091",
                "localhost",
                "evil.example:9090",
                "127.0.0.1.evil:9090",
                "[::1]:9090",
                "127.0.0.1:9090:9090",
                "",
                ":9090",
                "127.0.0.1:",
                "127.0.0.1:+9090",
                "localhost.evil.example:9090",
                "127.1:9090",
                "[127.0.0.1]:9090",
            ],
        ),
        (
            "::1",
            9090,
            ["[::1]:9090", "[0::1]:9090", "localhost:9090"],
            ["::1:9090", "[::1]", "127.0.0.1:9090", "[::1]x:9090", "x[::1]:9090"],
        ),
        ("192.0.2.1", 80, ["192.0.2.1", "192.0.2.1:80"], ["localhost", "192.0.2.2", "db"]),
        (
            "0.0.0.0",
            9090,
            ["192.0.2.1:8080", "[2001:db8::1]", "localhost:1", "127.0.0.1:9090"],
            ["relinkd:9090", "evil.example", "localhost.evil.example:9090", "", "192.0.2.1.evil"],
        ),
    ],
)
def test_which_hosts_mean_this_server(
    address: str, port: int, admitted: list[str], refused: list[str]
) -> None:
    listening = Listening(address, port)
    assert [each for each in admitted if not listening.admits(each)] == []
    assert [each for each in refused if listening.admits(each)] == []


async def test_another_host_is_refused_on_every_path(world: World, tmp_path: Path) -> None:
    async with wired(world, tmp_path) as wiring, serving(wiring) as site:
        for path in PATHS:
            for host in ("evil.example", f"evil.example:{site.port}", "127.0.0.1:1"):
                async with site.ask(path, headers={"Host": host}) as answer:
                    assert answer.status == 421, path
                    assert "evil" not in await answer.text()
        for head in (b"", b"Host:\r\n", b"Host: 127.0.0.1:%d\r\nHost: evil\r\n" % site.port):
            answer_ = await raw(site.port, b"GET /links HTTP/1.1\r\n%s\r\n" % head)
            assert b" 200 " not in answer_.partition(b"\r\n")[0]


async def test_probes_have_any_name_where_it_is_not_loopback_alone(
    world: World, tmp_path: Path
) -> None:
    name = {"Host": "relinkd:9090"}
    async with wired(world, tmp_path) as wiring, serving(wiring, "0.0.0.0") as site:
        found = {path: await site.status(path, headers=name) for path in PATHS}
        answered = {path for path, status in found.items() if status != 421}
        assert answered == {"/healthz", "/readyz", "/metrics"}
        assert await site.status("/links") == 200
        site.daemon.said = "engine lost: unix:///run/secret.sock"
        async with site.ask("/healthz", headers=name) as answer:
            assert await answer.text() == "engine lost\n"


# -- what anyone may have named --------------------------------------------------------------------

HOSTILE = "<img src=x onerror=alert(1)>\"'&</script><script>alert(1)</script>\u202e\x1b[31m"


async def test_hostile_text_is_json_and_printable(tmp_path: Path) -> None:
    world = World(network("back"))
    world.add(container("db"), back="10.0.0.2")
    texts = [f"db@{HOSTILE}", f"{HOSTILE}:db", f"db:{HOSTILE}"]
    labels = {"relinkd.links": ",".join(each.replace(",", "") for each in texts)}
    world.add(container("web", labels=labels), back="10.0.0.3")
    place(world, tmp_path, "web")
    async with wired(world, tmp_path) as wiring, serving(wiring) as site:
        found = await site.text("/links")
        drawn = await site.text("/graph.svg")
        said = await site.text("/explain?recipient=web&alias=db")
    assert all(row["reason"] for row in json.loads(found))
    for text in (found, said):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "<img" not in drawn
    assert "<script" not in drawn
    assert plain("<img") in found  # it was there to be refused


async def test_the_page_makes_no_markup_of_text() -> None:
    async with serving() as site:
        found = await site.text("/page.js")
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in found


async def test_the_page_names_no_outside_address() -> None:
    async with serving() as site:
        files = [await site.text(path) for path in ("/", "/page.js", "/page.css")]
    for text in files:
        assert set(re.findall(r"\w+://[^\s\"';)]+", text)) <= {"http://www.w3.org/2000/svg"}
        assert "style=" not in text
