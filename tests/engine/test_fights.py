"""One alias, several sources: what is a wish, and what is a fight that `check` reports.

In one place of declaration a second source is to take over. Two kinds of declaration, or two
recipients with one hosts file, do not know of each other: the first wins, and somebody is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engine.stack import Stack, until


def _links(stack: Stack, *options: str) -> list[dict[str, Any]]:
    """Return the rows that `links` has for `db`."""
    answer = json.loads(stack.relinkd.call("links", *options, "--format=json"))
    return [row for row in answer if row["alias"] == "db"]


def _short(stack: Stack, rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return who declares it, by what, its source and its state."""
    columns = ("recipient", "declared_by", "source", "state")
    return [tuple(row[column].replace(stack.prefix, "") for column in columns) for row in rows]


def _states(stack: Stack) -> list[str]:
    return [row["state"] for row in _links(stack)]


def _fight(stack: Stack, *options: str) -> str:
    """Return the only thing that `check` has found."""
    answer = stack.relinkd.call("check", *options, code=1)
    (line,) = (line for line in answer.splitlines() if line.startswith("- "))
    return line


def _all_is_well(stack: Stack, *options: str) -> bool:
    return stack.relinkd.call("check", *options).endswith("all is well\n")


def test_a_label_and_an_engine_link_with_different_sources_fight(stack: Stack) -> None:
    one, two = stack.run("one"), stack.run("two")
    web = stack.run("web", "one:db", links=[f"{stack.name('two')}:db"])
    # The engine's own line, which is true, must not give the alias to the second one.
    stack.await_lookup(web, "db", stack.address(one))
    rows = _links(stack)
    assert _short(stack, rows) == [
        ("web", "label", "one", "linked"),
        ("web", "engine", "/two", "shadowed"),
    ]
    assert f"db goes to {stack.name('one')} (label)" in rows[1]["reason"]
    said = _fight(stack)
    for name in ("web", "one", "two"):
        assert stack.name(name) in said
    for part in (" db ", "label relinkd.links", "--link", "remove one of the two"):
        assert part in said

    stack.client.stop(one)
    stack.await_lookup(web, "db", stack.address(two))
    assert _states(stack) == ["down", "linked"]
    assert _fight(stack) == said
    stack.client.start(one)
    stack.await_lookup(web, "db", stack.address(one))

    # Nothing is left to fight for once they mean the same.
    stack.client.remove(web)
    stack.run("web", "one:db", links=[f"{stack.name('one')}:db"])
    until(lambda: _states(stack) == ["linked", "linked"])
    assert _all_is_well(stack)


def test_a_label_and_a_link_on_a_network_with_different_sources_fight(stack: Stack) -> None:
    back = stack.network("back", "172.30.23.0/24")
    one, two = stack.run("one", network=back), stack.run("two", network=back)
    web = stack.run("web", "one:db", network=back, endpoint_links=[f"{stack.name('two')}:db"])
    stack.await_lookup(web, "db", stack.address(one, back))
    said = _fight(stack)
    for part in ("label relinkd.links", "links:", stack.name("one"), stack.name("two")):
        assert part in said
    stack.client.remove(two)
    stack.await_lookup(web, "db", stack.address(one, back))
    # Whoever is to come would never be reached.
    assert _fight(stack) == said
    assert _states(stack) == ["linked", "waiting"]


@contextmanager
def _configured(stack: Stack, folder: Path, *links: tuple[str, str, str]) -> Iterator[str]:
    """Let a relinkd with these `[[link]]` tables take the shared one's place; yield its option."""
    file = folder / "relinkd.toml"
    file.write_text(
        "".join(
            f'[[link]]\nrecipient = "{stack.name(recipient)}"\nsource = "{stack.name(source)}"\n'
            f'alias = "{alias}"\n'
            for recipient, source, alias in links
        )
    )
    option = f"--config={file}"
    with stack.instead(folder, option):
        yield option


def test_a_label_and_the_config_file_with_different_sources_fight(
    stack: Stack, tmp_path: Path
) -> None:
    tables = ("web", "two", "db"), ("web", "three", "db"), ("other", "two", "db")
    with _configured(stack, tmp_path, *tables) as option:
        one, two, three = (stack.run(name) for name in ("one", "two", "three"))
        web, other = stack.run("web", "one:db"), stack.run("other")
        stack.await_lookup(web, "db", stack.address(one))
        stack.await_lookup(other, "db", stack.address(two))
        assert _short(stack, _links(stack, option)) == [
            ("other", "config", "two", "linked"),
            ("web", "label", "one", "linked"),
            ("web", "config", "two", "shadowed"),
            ("web", "config", "three", "shadowed"),
        ]
        said = _fight(stack, option)
        for part in ("label relinkd.links", "[[link]]", "config file"):
            assert part in said
        for name in ("web", "one", "two", "three"):
            assert stack.name(name) in said
        # Each takes over from the one before it.
        for container, heir in ((one, two), (two, three)):
            stack.client.stop(container)
            stack.await_lookup(web, "db", stack.address(heir))
        assert stack.client.inspect(three)["State"]["Running"]


def test_several_sources_in_one_label_are_a_wish_and_no_trouble(stack: Stack) -> None:
    first, second = stack.run("first"), stack.run("second")
    web = stack.run("web", "first:db second:db")
    stack.await_lookup(web, "db", stack.address(first))
    rows = _links(stack)
    assert _short(stack, rows) == [
        ("web", "label", "first", "linked"),
        ("web", "label", "second", "shadowed"),
    ]
    assert f"stands by for {stack.name('first')}" in rows[1]["reason"]
    assert _all_is_well(stack)
    stack.client.stop(first)
    stack.await_lookup(web, "db", stack.address(second))
    assert _all_is_well(stack)


def test_two_recipients_of_one_file_with_different_sources_fight(stack: Stack) -> None:
    one, two = stack.run("one"), stack.run("two")
    web = stack.run("web", "one:db")
    stack.await_lookup(web, "db", stack.address(one))
    kid = stack.run("kid", "two:db two:own", network=f"container:{web}")
    stack.await_lookup(web, "own", stack.address(two))
    assert stack.lookup(web, "db") == [stack.address(one)]
    rows = _links(stack)
    assert _short(stack, rows) == [
        ("web", "label", "one", "linked"),
        ("kid", "label", "two", "shadowed"),
    ]
    assert f"(label of {stack.name('web')})" in rows[1]["reason"]
    said = _fight(stack)
    for part in (f"{stack.name('web')}'s label", f"{stack.name('kid')}'s label"):
        assert part in said
    for name in ("one", "two"):
        assert stack.name(name) in said
    # One that does not run has no part in it.
    stack.client.stop(kid)
    until(lambda: _states(stack) == ["linked", "idle"])
    assert _all_is_well(stack)
