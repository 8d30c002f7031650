"""Every stack of examples/, started as it is, on each real engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine.stack import Stack, resolve, until
from tests.lab import images
from tests.lab.engines import Engine

pytestmark = pytest.mark.engine

EXAMPLES = Path(__file__).parents[2] / "examples"
WAITS = 'CMD ["sh", "-c", "trap exit TERM; sleep 1000000 & wait"]'
"""What the stand-ins for the examples' databases run."""


@pytest.fixture(autouse=True)
def _stand_ins(engine: Engine) -> None:
    for image in ("postgres:17", "redis:7"):
        engine.client.import_image(image, images.busybox(), changes=[WAITS])


@contextmanager
def up(engine: Engine, *files: str) -> Iterator[None]:
    """Have these Compose files up, in this order."""
    try:
        for file in files:
            engine.docker("compose", "--file", EXAMPLES / file, "up", "--detach")
        yield
    finally:
        for file in reversed(files):
            engine.docker("compose", "--file", EXAMPLES / file, "down", "--timeout=0")


def test_the_stack_links_two_services_to_database_and_cache(stack: Stack, engine: Engine) -> None:
    with up(engine, "stack/compose.yaml"):
        ids = {name: str(stack.client.inspect(f"shop-{name}-1")["Id"]) for name in
               ("db", "cache", "api", "worker")}  # fmt: skip
        for recipient, alias, source in (
            ("api", "database", "db"),
            ("api", "cache", "cache"),
            ("worker", "database", "db"),
            ("worker", "callback", "api"),
        ):
            stack.await_lookup(ids[recipient], alias, stack.address(ids[source], "shop_default"))
        engine.docker("compose", "--file", EXAMPLES / "stack/compose.yaml", "restart", "db")
        stack.await_lookup(ids["api"], "database", stack.address(ids["db"], "shop_default"))
        assert stack.lookup(ids["worker"], "cache") == []


@pytest.mark.parametrize("first", ["data", "blog"])
def test_two_projects_come_up_in_any_order(stack: Stack, engine: Engine, first: str) -> None:
    second = {"data": "blog", "blog": "data"}[first]
    engine.client.network_create("backend")
    try:
        with up(engine, *(f"two-projects/{name}/compose.yaml" for name in (first, second))):
            db, web = (str(stack.client.inspect(n)["Id"]) for n in ("data-db-1", "blog-web-1"))
            stack.await_lookup(web, "db", stack.address(db, "backend"))
    finally:
        engine.client.network_remove("backend")


def test_labels_take_the_place_of_links(stack: Stack, engine: Engine) -> None:
    with up(engine, "from-links/before.yaml"):
        before = {n: str(stack.client.inspect(f"ledger-{n}-1")["Id"]) for n in ("db", "web")}
        address = stack.address(before["db"], "ledger_default")
        stack.await_lookup(before["web"], "database", address)
        said = stack.relinkd.call("migrate", "ledger-web-1")
        assert 'relinkd.links: "db:database' in said
        with up(engine, "from-links/after.yaml"):
            after = {n: str(stack.client.inspect(f"ledger-{n}-1")["Id"]) for n in ("db", "web")}
            assert after["db"] == before["db"]
            assert after["web"] != before["web"]
            stack.await_lookup(after["web"], "database", address)


def test_the_host_reaches_a_container_by_its_name(
    stack: Stack, engine: Engine, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    options = "--allow=host-names", f"--host-names-file={hosts}"
    with stack.instead(tmp_path / "run", *options), up(engine, "host-names/compose.yaml"):
        web = str(stack.client.inspect("site-web-1")["Id"])
        wanted = [stack.address(web, "site_default")]
        until(lambda: resolve(hosts.read_text(), "site.docker") == wanted, "site.docker")
    assert resolve(hosts.read_text(), "site.docker") == []


def test_the_guide_names_every_example() -> None:
    text = (EXAMPLES / "README.md").read_text()
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert all(f"| [{name}]({name}" in text for name in folders)
