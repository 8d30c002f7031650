"""A running relinkd with `--listen`, asked over HTTP, beside the fake engine."""

from __future__ import annotations

import socket
import subprocess
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.engine.stack import RELINKD, Daemon, Stack, daemon, until
from tests.fakes.engine import FakeEngine


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def scrape(port: int) -> dict[str, float]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def until_it_says(port: int, **wanted: float) -> dict[str, float]:
    """Scrape until these links or values are there: answers may be a second old."""
    keys = {f"relinkd_{name.replace('__', ' ')}": value for name, value in wanted.items()}
    until(lambda: keys.items() <= scrape(port).items(), keys)
    return scrape(port)


def test_a_link_goes_and_comes_and_the_engine_is_lost(fake: FakeEngine, tmp_path: Path) -> None:
    port = free_port()
    with daemon(
        fake.socket, fake.containers_dir, tmp_path, f"--listen=127.0.0.1:{port}", recorded=False
    ) as relinkd:
        stack = Stack(fake.client, fake.containers_dir, relinkd)
        db = stack.run("db")
        stack.run("web", "db")
        before = until_it_says(
            port, engine_up=1, standby=0, links__linked=1, recipients=1, containers=2
        )
        assert before["process_open_fds"] > 0
        stack.client.stop(db)
        down = until_it_says(port, links__linked=0, links__down=1)
        changes = "relinkd_link_changes_total"
        assert down[changes] == before[changes] + 1
        stack.client.start(db)
        back = until_it_says(port, links__linked=1, links__down=0)
        assert back[changes] == down[changes] + 1
        assert back["relinkd_deliveries_total done"] > before["relinkd_deliveries_total done"]
        fake.stop_listening()
        until_it_says(port, engine_up=0, links__linked=1)
        fake.listen_again()
        until_it_says(port, engine_up=1)
        other = tmp_path / "other"
        other.mkdir()
        more = free_port()
        with closing(
            Daemon(
                fake.socket,
                fake.containers_dir,
                other,
                f"--listen=127.0.0.1:{more}",
                recorded=False,
            )
        ) as second:
            second.start("daemon.standby")
            until_it_says(more, standby=1, engine_up=0)
            assert relinkd.stop() == 0
            until_it_says(more, standby=0, engine_up=1, links__linked=1)


def test_a_file_that_another_program_changes_in_a_loop_is_out_of_step(
    fake: FakeEngine, tmp_path: Path
) -> None:
    port = free_port()
    with daemon(
        fake.socket, fake.containers_dir, tmp_path, f"--listen=127.0.0.1:{port}", recorded=False
    ) as relinkd:
        stack = Stack(fake.client, fake.containers_dir, relinkd)
        stack.run("db")
        web = stack.run("web", "db")
        until_it_says(port, links__linked=1, unsettled_files=0)
        hosts = fake.containers_dir / web / "hosts"
        others = len(hosts.read_bytes().partition(b"# relinkd begin")[0])

        def fought() -> bool:
            with hosts.open("r+b") as file:  # in one step: an empty file would be a failure
                file.truncate(others)
            found = scrape(port)
            assert found["relinkd_failed_files"] == 0
            return found["relinkd_unsettled_files"] == 1

        until(fought, "a file out of step")
        assert relinkd.log("file.fought")
        until_it_says(port, unsettled_files=0)


def ask(port: int, path: str) -> tuple[int, bytes]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read1() if path == "/events" else answer.read()


def test_no_value_of_an_environment_is_served(fake: FakeEngine, tmp_path: Path) -> None:
    port = free_port()
    with daemon(
        fake.socket, fake.containers_dir, tmp_path, f"--listen=127.0.0.1:{port}", recorded=False
    ) as relinkd:
        stack = Stack(fake.client, fake.containers_dir, relinkd)
        stack.run("db", env=["PASSWORD=swordfish"])
        stack.run("web", "db", env=["TOKEN=swordfish"])
        until_it_says(port, links__linked=1)
        query = f"?recipient={stack.name('web')}&alias=db"
        for path in ("/", "/healthz", "/readyz", "/metrics", "/links", "/graph.svg", "/events"):
            status, body = ask(port, path)
            assert (status, b"swordfish" in body) == (200, False), path
        status, body = ask(port, f"/explain{query}")
        assert (status, b"swordfish" in body, b"PASSWORD" in body) == (200, False, False)
        assert b"state: linked" in body


def test_one_that_is_connected_and_silent_does_not_delay_the_end(
    fake: FakeEngine, tmp_path: Path
) -> None:
    port = free_port()
    with daemon(
        fake.socket, fake.containers_dir, tmp_path, f"--listen=127.0.0.1:{port}", recorded=False
    ) as relinkd:
        with socket.create_connection(("127.0.0.1", port)):
            scrape(port)
            assert relinkd.stop() == 0
        relinkd.start()  # on the same port, at once
        scrape(port)
        lines = (tmp_path / "log.jsonl").read_text().splitlines()
        assert [line for line in lines if not line.startswith("{")] == []


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("127.0.0.1:{}", "Address already in use"),
        ("192.0.2.1:{}", "Cannot assign requested address"),
    ],
)
def test_where_nobody_can_listen_it_does_not_start(where: str, why: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = where.format(taken.getsockname()[1])
        done = subprocess.run(
            [*RELINKD, "run", f"--containers-dir={tmp_path}", f"--listen={listen}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert f"cannot listen on {listen}: {why}" in done.stderr
    assert "Traceback" not in done.stderr
