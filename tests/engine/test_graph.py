"""`relinkd graph` beside a running engine."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tests.engine.stack import Stack


def test_what_is_drawn_is_so_and_stays_the_same(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db:store api")
    stack.run("api", "web", links=[f"{stack.name('db')}:webdb"])
    stack.await_lookup(web, "store", stack.address(db))
    tree = stack.relinkd.call("graph")
    assert f"store: {stack.name('db')} (running)  linked {stack.address(db)}" in tree
    assert "(its links: above)" in tree
    for form in ("text", "mermaid", "dot", "svg"):
        drawn = stack.relinkd.call("graph", "--format", form)
        assert drawn == stack.relinkd.call("graph", "--format", form)
        assert all(stack.name(name) in drawn for name in ("db", "web", "api"))
        if form == "svg":
            assert ET.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"
    stack.client.stop(db)
    stack.await_lookup(web, "store")
    assert "down" in stack.relinkd.call("graph")
