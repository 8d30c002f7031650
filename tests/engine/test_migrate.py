"""What `relinkd migrate` prints, pasted: a recipient made anew without links has the same names."""

from __future__ import annotations

from tests.builders import compose
from tests.engine.stack import Stack
from tests.pasted import from_compose, from_run


def _names(stack: Stack, container: str, address: str) -> set[str]:
    """The names that a container's resolver finds for an address."""
    lines = (line.partition("#")[0].split() for line in stack.hosts(container).splitlines())
    return {name for words in lines if words[:1] == [address] for name in words[1:]}


def test_the_label_gives_a_recipient_of_link_the_names_that_it_had(stack: Stack) -> None:
    db = stack.run("db", hostname="memory")
    web = stack.run("web", links=[f"{stack.name('db')}:webdb", f"{stack.name('db')}:store"])
    before = _names(stack, web, stack.address(db))
    assert before == {"webdb", "store", "memory", stack.name("db")}
    labels = from_run(stack.relinkd.call("migrate", stack.name("web")))
    (label,) = labels.values()
    stack.client.remove(web)
    again = stack.run("web", labels={"relinkd.links": label})
    stack.await_lookup(again, "webdb", stack.address(db))
    assert _names(stack, again, stack.address(db)) == before
    assert "nothing" in stack.relinkd.call("migrate", stack.name("web"))


def test_the_label_of_a_service_follows_that_service(stack: Stack) -> None:
    back = stack.network("back", "172.30.5.0/24")
    project = stack.name("shop")
    db = stack.run("db", network=back, labels=compose(project, "db"))
    other = stack.run("legacy", network=back)
    links = [f"{stack.name('db')}:store", f"{stack.name('legacy')}:old"]
    labels = compose(project, "web")
    web = stack.run("web", network=back, labels=labels, endpoint_links=links)
    stack.await_lookup(web, "store", stack.address(db, back))
    stack.await_lookup(web, "old", stack.address(other, back))
    before = {each: _names(stack, web, stack.address(each, back)) for each in (db, other)}
    pasted = from_compose(stack.relinkd.call("migrate", stack.name("web")))
    assert pasted == {"web": f"db:store /{stack.name('legacy')}:old"}
    stack.client.remove(web)
    again = stack.run("web", network=back, labels={**labels, "relinkd.links": pasted["web"]})
    stack.await_lookup(again, "store", stack.address(db, back))
    stack.await_lookup(again, "old", stack.address(other, back))
    assert {each: _names(stack, again, stack.address(each, back)) for each in before} == before
