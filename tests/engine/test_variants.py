"""The variants of deploy/README.md, each brought up with the YAML or the command of that page."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.conftest import LabEngines
from tests.engine import checkout
from tests.engine.stack import resolve, until
from tests.engine.test_capabilities import Remapped
from tests.engine.test_letter import BUILDER, DEPLOY, Reader
from tests.lab.engines import Engine
from tests.lab.engines import engine as lab_engine
from tests.pasted import part, typed, yaml_of

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

NAME = "relinkd-relinkd-1"
WAITS = ["sleep", "1000000"]
ASK = "import urllib.request as u; print(u.urlopen('http://%s').read().decode())"
PROXY = textwrap.dedent(
    """
    import re, socket, threading
    ALLOWED = rb"(GET|HEAD) (/v[0-9.]+)?/(version|events|containers|networks)[/? ]"

    def pipe(source, target):
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is gone

    def serve(client):
        head = b""
        while b"\\r\\n\\r\\n" not in head:
            head += client.recv(1 << 16) or b"\\r\\n\\r\\n"
        if not re.match(ALLOWED, head):
            print("refused", head.split(b"\\r\\n")[0], flush=True)
            client.sendall(b"HTTP/1.1 403 Forbidden\\r\\nContent-Length: 0\\r\\n\\r\\n")
            return client.close()
        engine = socket.socket(socket.AF_UNIX)
        engine.connect("/run/host/docker.sock")
        engine.sendall(head.replace(b"\\r\\n", b"\\r\\nConnection: close\\r\\n", 1))
        threading.Thread(target=pipe, args=(client, engine), daemon=True).start()
        pipe(engine, client)
        client.close()

    with socket.create_server(("", 2375)) as server:
        while True:
            threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
    """
)
"""A GET-only proxy that asks about each request: after one the connection ends."""


class Variants(Reader):
    """Brings up the sidecar in each way."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        super().__init__(engine, folder)
        self.folder = folder

    @contextmanager
    def up(self, title: str, replaced: Mapping[str, str] | None = None) -> Iterator[None]:
        """Have `docker compose up` with the YAML of a section, until the end of the `with`."""
        text = yaml_of(part(DEPLOY, title))
        for before, after in {
            "/var/lib/docker/containers, target": f"{self.engine.containers_dir}, target",
            **(replaced or {}),
        }.items():
            text = text.replace(before, after)
        (self.folder / "local.yaml").write_text(text)
        compose = "docker compose -f deploy/compose.yaml -f local.yaml"
        try:
            self.type(f"{compose} up -d --no-build")
            self.synced(NAME)
            yield
        finally:
            self.type(f"{compose} down --timeout=2")

    def follows(self) -> None:
        """See that a link is kept."""
        labels = {"relinkd.links": "db:database"}
        self.client.run("db", image="postgres")
        self.client.run("web", image="postgres", labels=labels)
        until(lambda: self.lookup("web", "database") == [self.address("db")], "the link")
        self.client.stop("db")
        until(lambda: self.lookup("web", "database") == [], "the source to be gone")
        for each in ("db", "web"):
            self.client.remove(each)

    def inside(self, network: str, address: str) -> str:
        """Ask for a page from a container on a network."""
        argv = ["python3", "-c", ASK % address]
        self.client.run("asker", image="python:3.11-slim", cmd=WAITS, network=network)
        try:
            code, said = self.client.exec("asker", argv)
        finally:
            self.client.remove("asker")
        assert code == 0, said
        return said


@pytest.fixture(scope="module", params=BUILDER)
def built(
    request: pytest.FixtureRequest,
    builders: LabEngines,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Variants]:
    folder = tmp_path_factory.mktemp("variants")
    checkout.make(folder)
    variants = Variants(builders[request.param], folder)
    with closing(variants.shell):
        *_, build = typed(part(DEPLOY, "Without a network"))
        variants.type(build[0])
        variants.type("docker tag busybox postgres")
        variants.type("docker save -o images.tar relinkd/relinkd:0.1.0 postgres")
        yield variants


@contextmanager
def on_another(built: Variants, engine: Engine) -> Iterator[Variants]:
    """Have the same images on an engine of another kind."""
    variants = Variants(engine, built.folder)
    with closing(variants.shell):
        variants.type("docker load -i images.tar")
        yield variants


@pytest.fixture
def variants(built: Variants) -> Iterator[Variants]:
    yield built
    built.client.sweep()


def test_metrics_and_the_page_on_a_network_of_their_own(variants: Variants) -> None:
    with variants.up("Metrics and the page"):
        variants.follows()
        network = "relinkd_metrics"
        assert "relinkd_links" in variants.inside(network, "relinkd:9090/metrics")
        found = variants.client.inspect(NAME)["NetworkSettings"]["Networks"]
        assert list(found) == [network]
        address = found[network]["IPAddress"]
        assert "<title>relinkd" in variants.inside(network, f"{address}:9090/")
        assert json.loads(variants.inside(network, f"{address}:9090/links")) == []


def test_behind_a_get_only_proxy(variants: Variants) -> None:
    script = variants.folder / "proxy.py"
    script.write_text(PROXY)
    binds = [f"{script}:/proxy.py:ro", f"{variants.engine.socket.parent}:/run/host:ro"]
    client = variants.client
    client.network_create("relinkd_engine", internal=True)
    client.run(
        "socket-proxy", image="python:3.11-slim", cmd=["python3", "/proxy.py"], binds=binds,
        network="relinkd_engine",
    )  # fmt: skip
    external = {"internal: true": "external: true\n    name: relinkd_engine"}
    with variants.up("Behind a GET-only proxy", external):
        variants.follows()
        assert client.exec(NAME, ["ls", "/run/host"])[0] != 0
        code, said = client.exec(NAME, ["relinkd", "check"])
        assert (code, said.splitlines()[-1]) == (0, "all is well")
        assert [
            line for line in client.logs("socket-proxy").splitlines() if "GET" not in line
        ] == []
    client.remove("socket-proxy")
    client.network_remove("relinkd_engine")


def test_a_config_file_in_its_directory(variants: Variants) -> None:
    folder = variants.folder / "etc"
    folder.mkdir()
    file = folder / "relinkd.toml"
    file.write_text("")
    with variants.up("A config file", {"source: /etc/relinkd": f"source: {folder}"}):
        db, web = (variants.client.run(name, image="postgres") for name in ("db", "web"))
        new = folder / "new"
        new.write_text('[[link]]\nrecipient = "web"\nsource = "db"\nalias = "store"\n')
        new.rename(file)  # as an editor does
        until(lambda: variants.lookup(web, "store") == [variants.address(db)], "the new table")


def test_names_for_the_host(variants: Variants) -> None:
    hosts = variants.folder / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    with variants.up("Names for the host", {"source: /etc/hosts": f"source: {hosts}"}):
        labels = {"relinkd.host-names": "shop.docker"}
        db = variants.client.run("db", image="postgres", labels=labels)
        wanted = [variants.address(db)]
        until(lambda: resolve(hosts.read_text(), "shop.docker") == wanted, "the name")


def test_a_global_service_of_swarm(built: Variants) -> None:
    (create,) = typed(part(DEPLOY, "Swarm"))
    with lab_engine(built.engine.key) as engine, on_another(built, engine) as variants:
        variants.type("docker swarm init --advertise-addr 127.0.0.1")
        variants.type(create[0].replace("create ", "create --detach --no-resolve-image ", 1))
        started = {"label": ["com.docker.swarm.service.name=relinkd"]}
        until(lambda: variants.client.list(all=False, filters=started), "the service's task")
        (task,) = variants.client.list(all=False, filters=started)
        variants.synced(task["Id"])
        variants.follows()
        assert (variants.engine.containers_dir / task["Id"]).exists()
        host = variants.client.inspect(task["Id"])["HostConfig"]
        assert host["ReadonlyRootfs"]


def test_beside_an_engine_that_remaps_users(built: Variants) -> None:
    engine = Remapped(built.engine.key)
    try:
        engine.start()
        with on_another(built, engine) as variants, variants.up("userns-remap"):
            variants.follows()
            assert not [line for line in variants.lines(NAME) if line["level"] != "info"]
            code, said = variants.client.exec(NAME, ["relinkd", "check"])
            assert (code, said.splitlines()[-1]) == (0, "all is well")
    finally:
        engine.remove()
