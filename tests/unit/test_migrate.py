"""`relinkd migrate`: what it prints, read back, gives the links that there were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.commands import FAILED, NO_ENGINE, cli
from reconciler.links.declare import LINKS, Kind, declarations
from reconciler.links.desired import desired
from reconciler.links.graph import LinkGraph
from reconciler.views.migrate import Move, as_compose, as_run, moves
from tests.builders import World, compose, container, network
from tests.machine import Machine
from tests.pasted import from_compose, from_run


def world() -> World:
    """Recipients of `--link`, of Compose, of both kinds and on several networks."""
    found = World(network("bridge"), network("shop_back"), network("shop_front"), network("lan"))
    found.add(container("db"), bridge="172.17.0.2", lan="10.9.0.2")
    found.add(container("cache-7", hostname="memory"), bridge="172.17.0.3")
    links = ["db:webdb", "cache-7:cache"]
    found.add(container("web", engine_links=links), bridge="172.17.0.4")
    sess = [container(f"shop-sess-{n}", labels=compose("shop", "sess", n)) for n in (1, 2)]
    found.add(sess[0], shop_back="10.1.0.2")
    found.add(sess[1], shop_back="10.1.0.3")
    found.add(container("shop-api-1", labels=compose("shop", "api")), shop_front="10.2.0.3")
    found.add(container("legacy"), shop_back="10.1.0.9")
    found.add(container("pay-api-1", labels=compose("pay", "api")), shop_back="10.1.0.8")
    names = {f"{name}:{alias}" for name in ("shop-sess-1", "shop-sess-2") for alias in ["session"]}
    found.add(
        container(
            "shop-web-1",
            labels=compose("shop", "web"),
            endpoint_links={
                "shop_back": [*sorted(names), "shop-sess-2:sess-2", "legacy:old", "pay-api-1:pay"],
                "shop_front": ["shop-api-1:api"],
            },
        ),
        shop_back="10.1.0.4",
        shop_front="10.2.0.4",
    )
    both = container(
        "both", "db:first", engine_links=["db:second"], endpoint_links={"lan": ["db:third"]}
    )
    found.add(both, bridge="172.17.0.5", lan="10.9.0.5")
    return found


def found_in(world: World, *names: str) -> list[Move]:
    recipients = [world[name] for name in names] if names else world.mirror.containers.values()
    return list(moves(recipients, world.mirror))


def reached(world: World, name: str, kinds: tuple[Kind, ...], label: str | None = None) -> set[str]:
    """Each alias with the container, the network and the address that it reaches."""
    recipient = world[name]
    if label is not None:
        recipient = replace(recipient, labels={**recipient.labels, LINKS: label})
        world.add(recipient)
    graph = LinkGraph(kinds)
    graph.update(list(world.mirror.containers), world.mirror)
    return {
        f"{link.declaration.alias} {target.name} {target.network} {target.ipv4}"
        for link in desired(recipient, graph, world.mirror).links
        for target in link.targets
    }


ALIASES = {
    "web": {"webdb", "cache"},
    "shop-web-1": {"session", "sess-2", "old", "pay", "api"},
    "both": {"second", "third"},
}


@pytest.mark.parametrize("form", ["run", "compose", "json"])
@pytest.mark.parametrize("name", ALIASES)
def test_what_it_prints_read_back_gives_the_same_links(name: str, form: str) -> None:
    there = world()
    found = found_in(there, name)
    before = reached(there, name, ("endpoint", "engine"))
    assert {each.split()[0] for each in before} == ALIASES[name]
    labels: Mapping[str, str] = {
        "run": lambda: from_run(as_run(found)),
        "compose": lambda: from_compose(as_compose(found)),
        "json": lambda: {name: " ".join(found[0].links)},
    }[form]()
    (label,) = labels.values()
    declared = declarations(replace(there[name], labels={**there[name].labels, LINKS: label}))
    assert not any(each.problem for each in declared)
    assert before <= reached(there, name, ("label",), label)


def test_the_forms_of_sources() -> None:
    by_name = {move.recipient: move.links for move in found_in(world())}
    assert by_name == {
        "both": ("db:first", "db:third@lan", "db:second@bridge", "db@bridge"),
        "shop-web-1": (
            "sess:session@back",
            "/shop-sess-2:sess-2@back",
            "/legacy:old@back",
            "pay/api:pay@back",
            "api@front",
        ),
        "web": ("db:webdb", "db", "cache-7:cache", "cache-7:memory", "cache-7"),
    }


def test_a_service_that_is_linked_in_part_is_named_by_container() -> None:
    there = world()
    links = {"shop_back": ["shop-sess-1:one"]}
    labels = compose("shop", "job")
    there.add(container("shop-job-1", labels=labels, endpoint_links=links), shop_back="10.1.0.5")
    (move,) = found_in(there, "shop-job-1")
    assert move.links == ("/shop-sess-1:one",)


def test_what_a_label_says_already_stays_and_wins() -> None:
    there = world()
    made = container("web", "/legacy:webdb, x", engine_links=["db:webdb", "db:db"])
    there.add(made, bridge="172.17.0.4")
    (move,) = found_in(there, "web")
    assert move.links == ("/legacy:webdb", "x", "db")


def test_the_names_beside_one_alias_never_take_anothers_place() -> None:
    there = world()
    there.add(container("web", engine_links=["db:one", "cache-7:db"]), bridge="172.17.0.4")
    (move,) = found_in(there, "web")
    assert "cache-7:db" in move.links
    assert "db" not in move.links


def test_a_source_that_is_gone_is_kept_and_said() -> None:
    there = world()
    there.add(container("web", engine_links=["gone:x"]), bridge="172.17.0.4")
    labels = compose("shop", "job")
    links = {"shop_back": ["gone:x"]}
    there.add(container("shop-job-1", labels=labels, endpoint_links=links), shop_back="10.1.0.5")
    job, web = found_in(there, "web", "shop-job-1")
    assert (web.links, job.links) == (("gone:x",), ("/gone:x",))
    assert all("there is no container gone now" in move.notes for move in (job, web))


def test_an_alias_that_relinkd_refuses_is_said_and_not_written() -> None:
    there = world()
    there.add(container("web", engine_links=["db:a b", "db:ok"]), bridge="172.17.0.4")
    (move,) = found_in(there, "web")
    assert move.links == ("db:ok", "db")
    assert any("is not a host name" in note for note in move.notes)


def test_where_nothing_can_be_written_there_are_comments_alone() -> None:
    there = world()
    there.add(container("web", engine_links=["db:a b"]), bridge="172.17.0.4")
    found = found_in(there, "web")
    assert found[0].links == ()
    assert all(line.startswith("#") for line in as_run(found).splitlines())
    assert LINKS not in as_compose(found)


def test_variables_are_noted_where_links_set_them_and_how_to_look() -> None:
    by_name = {move.recipient: " ".join(move.notes) for move in found_in(world())}
    assert "docker exec web env | grep -E '^(WEBDB_|CACHE_)'" in by_name["web"]
    assert "relinkd env web" in by_name["web"]
    assert "variables" not in by_name["shop-web-1"]
    assert "depends_on" in by_name["shop-web-1"]


def test_replicas_are_one_service() -> None:
    there = world()
    again = replace(there["shop-web-1"], labels=compose("shop", "web", 2))
    there.add(replace(again, id="f" * 64, name="shop-web-2"))
    text = as_compose(found_in(there, "shop-web-1", "shop-web-2"))
    assert text.count("  web:") == 1
    assert text.count(f"{LINKS}:") == 1


def test_neither_a_shell_nor_yaml_nor_compose_is_driven_by_a_label() -> None:
    there = world()
    evil = "db:x`id`\"'$HOME;#{"
    there.add(container("true", evil, engine_links=["db:ok"]), bridge="172.17.0.4")
    found = found_in(there, "true")
    assert from_run(as_run(found)) == {"true": f"{evil},db:ok,db"}
    text = as_compose(found)
    assert '  "true":' in text
    assert "$$HOME" in text
    assert from_compose(text) == {"true": f"{evil} db:ok db"}


@pytest.mark.parametrize(
    "made",
    [
        container("x", "db"),
        container("x", engine_links=["db:y"], labels={"relinkd.enable": "false"}),
        container("x", engine_links=["db:y"], labels=compose("shop", "x", oneoff=True)),
    ],
    ids=["labels alone", "opted out", "one-off"],
)
def test_what_needs_no_move_has_none(made: object) -> None:
    there = world()
    assert found_in(there)
    there.add(made, bridge="172.17.0.6")  # type: ignore[arg-type] # parameters have no types
    assert found_in(there, "x") == []


class TestCommand:
    @pytest.fixture
    def old(self, machine: Machine) -> Machine:
        machine.world.add(container("old", engine_links=["db:webdb"]), bridge="172.17.0.2")
        links = {"back": ["db:store"]}
        made = container("shop-app-1", labels=compose("shop", "app"), endpoint_links=links)
        machine.world.add(made, back="10.0.0.6")
        return machine

    def test_each_as_it_was_made(self, old: Machine) -> None:
        text = old.run("migrate").stdout
        compose_part, run_part = text.split("\n\n")
        assert from_run(run_part) == {"old": "db:webdb,db"}
        assert from_compose(compose_part) == {"app": "/db:store"}
        assert "instead of --link db:webdb" in run_part
        assert "instead of link db:store on back" in compose_part

    def test_all_in_one_form(self, old: Machine) -> None:
        assert from_run(old.run("migrate", "--format", "run").stdout) == {
            "old": "db:webdb,db",
            "shop-app-1": "/db:store",
        }
        assert from_compose(old.run("migrate", "--format", "compose").stdout) == {
            "old": "db:webdb db",
            "app": "/db:store",
        }
        moves = json.loads(old.run("migrate", "--format", "json").stdout)
        assert [move["recipient"] for move in moves] == ["old", "shop-app-1"]

    def test_one_recipient(self, old: Machine) -> None:
        assert list(from_run(old.run("migrate", "/old").stdout)) == ["old"]
        assert old.run("migrate", "nobody").exit_code == FAILED

    def test_nothing_is_a_comment_too(self, machine: Machine) -> None:
        result = machine.run("migrate")
        assert result.exit_code == 0
        assert result.stdout.startswith("# nothing")
        assert json.loads(machine.run("migrate", "--format", "json").stdout) == []


def test_no_engine_is_3(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["migrate", "-H", f"unix://{tmp_path}/none.sock"])
    assert (result.exit_code, result.stdout) == (NO_ENGINE, "")
