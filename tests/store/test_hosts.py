"""`relinkd hosts`: who is in the fleet."""

from __future__ import annotations

import json

import anyio.to_thread
import pytest
from click.testing import CliRunner

from reconciler.cli.commands import FAILED, USAGE, cli
from tests.builders import compose, container
from tests.lab.etcd import Etcd
from tests.store.following import host, put
from tests.store.publishing import publishing, stands
from tests.store.test_publish import until


def hosts(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["hosts", "--run-dir", "/nonexistent", *arguments])
    return result.exit_code, result.stdout, result.stderr


async def test_lists_each_host_with_what_it_publishes(one: Etcd) -> None:
    put(one, "hosts/by-hand", host("10.0.0.7"))
    put(one, "hosts/odd", "[]")
    async with publishing(one) as here:
        here.world.add(container("shop-db-1", labels=compose("shop", "db")), routed="10.0.0.2")
        here.world.add(container("web"), routed="10.0.0.3")
        here.changed("shop-db-1", "web")
        await until(lambda: {"names/web/node-a", "names/shop-db-1/node-a"} <= stands(one).keys())
        arguments = "--fleet", one.url, "--format", "json"
        code, out, _ = await anyio.to_thread.run_sync(hosts, *arguments)
    assert code == 0
    by_hand, node_a, odd = json.loads(out)
    assert (by_hand["host"], by_hand["heard"]) == ("by-hand", None)
    assert (odd["host"], odd["problem"]) == ("odd", "Expected `object`, got `array`")
    assert (node_a["host"], node_a["records"], node_a["lease"]) == ("node-a", 2, 7)
    assert 0 <= node_a["heard"] <= 10
    assert node_a["addresses"] == ["10.0.0.9", "10.0.0.1"]
    assert node_a["problem"] is None


def test_as_a_table(one: Etcd) -> None:
    put(one, "hosts/node-b", host("10.0.0.7"))
    put(one, "hosts/odd", "[]")
    code, out, _ = hosts("--fleet", one.url)
    assert code == 0
    head, node_b, odd = out.splitlines()
    assert head.split() == ["HOST", "ADDRESSES", "RECORDS", "HEARD", "RELINKD", "SINCE"]
    assert node_b.split()[:4] == ["node-b", "10.0.0.7", "0", "no"]
    assert "cannot be read: Expected `object`, got `array`" in odd


def test_an_empty_fleet(one: Etcd) -> None:
    assert hosts("--fleet", one.url, "--format", "json") == (0, "[]\n", one_note())


def one_note() -> str:
    return (
        "relinkd: no daemon answers at /nonexistent/relinkd.sock: using the settings given here\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), USAGE, "set --fleet to its store"),
        (("--fleet", "etcd://127.0.0.1:1"), FAILED, "127.0.0.1:1: nothing listens there"),
        (("--fleet", "etcd://127.0.0.1:1", "--fleet-user", "a"), USAGE, "needs a password"),
    ],
)
def test_says_what_is_missing(arguments: tuple[str, ...], code: int, said: str) -> None:
    found, _, err = hosts(*arguments)
    assert found == code
    assert said in err
