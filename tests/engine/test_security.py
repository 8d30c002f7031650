"""The threat model's lines that need a real engine: see docs/security.md.

A container does its worst to its own hosts file, its labels, its name, its health and its timing.
All other recipients must keep their links: the alias is gone before the next holder of the address
has its `start`, never wrong in between, and then at the source's new address.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from reconciler.log import BURST, RATE
from tests.engine.security_parts import in_loop, move, moves
from tests.engine.stack import Stack, until
from watchers.model import COMPOSE_NUMBER, COMPOSE_PROJECT, COMPOSE_SERVICE

POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
"""As the sidecar is: root, and no capability."""


@pytest.mark.core
def test_one_that_holds_its_file_open_for_ever_is_kept_right_and_delays_nobody(
    stack: Stack,
) -> None:
    db = stack.run("db")
    holder = stack.run(
        "holder", "db", cmd=["sh", "-c", "exec 3</etc/hosts 4<>/etc/hosts; sleep 1000000"]
    )
    web = stack.run("web", "db")
    for recipient in (holder, web):
        stack.await_lookup(recipient, "db", stack.address(db))
    moves(stack, db, holder, web)


WRITERS = {
    "rewritten": r"printf '127.0.0.1\tlocalhost\n' >/etc/hosts",
    "touched": ": >>/etc/hosts",
    "filled": "yes '# relinkd begin' | head -c 300000 >>/etc/hosts; sleep 0.1",
    "marked": r"printf '127.0.0.1\tlocalhost\n# relinkd begin\n9.9.9.9 db\n' >/etc/hosts",
}


@pytest.mark.parametrize("how", WRITERS)
def test_one_that_writes_its_file_in_a_loop_is_told_of_once_and_delays_nobody(
    stack: Stack, how: str
) -> None:
    db = stack.run("db")
    writer = stack.create("writer", "db", cmd=in_loop(WRITERS[how]))
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    began = time.monotonic()
    stack.client.start(writer)
    fought = how in ("rewritten", "marked")  # which take relinkd's own lines away
    if fought:
        until(lambda: stack.relinkd.log("file.fought", recipient=stack.name("writer")), "a fight")
    moves(stack, db, web)
    lines = [
        line
        for line in stack.relinkd.log(recipient=stack.name("writer"))
        if line["event"] in ("file.fought", "delivery.failed")
    ]
    assert len(lines) <= 3
    if fought:
        assert [line["event"] for line in lines].count("file.fought") == 1
    said = stack.relinkd.log(recipient=stack.name("writer"))
    assert len(said) <= BURST + RATE * (time.monotonic() - began) + 10
    # Once it ends it is a recipient like any other.
    stack.client.restart(writer)
    stack.client.remove(writer)


def test_one_that_takes_its_file_away_from_relinkd_harms_itself_alone(
    stack: Stack, tmp_path: Path
) -> None:
    with stack.instead(tmp_path, within=POWERLESS):
        db = stack.run("db")
        owner, web = stack.run("owner", "db"), stack.run("web", "db")
        for recipient in (owner, web):
            stack.await_lookup(recipient, "db", stack.address(db))
        for argv in (["chown", "65534", "/etc/hosts"], ["chmod", "0", "/etc/hosts"]):
            code, said = stack.client.exec(owner, argv)
            assert code == 0, said
        # It is open already, and a slot needs no lease.
        for recipient in (owner, web):
            stack.await_lookup(recipient, "db", stack.address(db))
        new = move(stack, db)
        for recipient in (owner, web):
            stack.await_lookup(recipient, "db", new)
        stack.relinkd.stop()
        stack.relinkd.start()
        before = stack.hosts(owner)
        new = move(stack, db)
        stack.await_lookup(web, "db", new)
        failed = "delivery.failed"
        until(lambda: stack.relinkd.log(failed, recipient=stack.name("owner")), failed)
        (line,) = stack.relinkd.log(failed, recipient=stack.name("owner"))
        assert "Permission denied" in line["reason"]
        assert stack.hosts(owner) == before
        assert not stack.relinkd.log(failed, recipient=stack.name("web"))


def test_labels_and_lines_without_an_end_delay_nobody(stack: Stack) -> None:
    db, other = stack.run("db"), stack.run("other")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    many = " ".join(f"{stack.name('other')}:n{at}" for at in range(500))
    labels = {f"relinkd.x{at}": "x" * 100 for at in range(5000)}
    fill = "for at in $(seq 4000); do printf '# spare%65s\\n' ''; done >/block"
    block = (
        "printf '127.0.0.1\\tlocalhost\\n# relinkd begin\\n'; cat /block; printf '# relinkd end\\n'"
    )
    worst = stack.run(
        "worst",
        labels={**labels, "relinkd.links": many, "relinkd.on-change": "exec:" + "'" * 60_000},
        cmd=["sh", "-c", f"{fill}; {{ {block}; }} >/etc/hosts; sleep 1000000"],
    )
    stack.await_lookup(worst, "n499", stack.address(other))
    moves(stack, db, web)
    problems = stack.relinkd.log("label.problem", recipient=stack.name("worst"))
    assert 0 < len(problems) <= 21


def test_a_name_is_its_containers_and_no_label_or_name_of_another_takes_it(stack: Stack) -> None:
    shop = {COMPOSE_PROJECT: stack.name("shop"), COMPOSE_SERVICE: "db", COMPOSE_NUMBER: "1"}
    db = stack.run("db", labels=shop)
    recipients = {
        "by-name": stack.name("db"),
        "by-slash": f"/{stack.name('db')}",
        "by-id": db,
        "by-service": f"{stack.name('shop')}/db",
    }
    webs = {
        name: stack.run(name, labels={"relinkd.links": f"{source}:db"})
        for name, source in recipients.items()
    }
    for web in webs.values():
        stack.await_lookup(web, "db", stack.address(db))
    posing = stack.run("posing", labels={**shop, COMPOSE_NUMBER: "2"})
    named = stack.client.run(db)  # its name is the other's ID
    try:
        # Who bears a service's labels is one of its replicas, to Compose as to us.
        both = [stack.address(db), stack.address(posing)]
        stack.await_lookup(webs["by-service"], "db", *both)
        for name in ("by-name", "by-slash", "by-id"):
            assert stack.lookup(webs[name], "db") == [stack.address(db)]
            assert stack.state(name, "db")["source"] == recipients[name]
    finally:
        stack.client.remove(named)


def test_a_source_whose_health_flaps_costs_its_own_recipients_lines_alone(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    flapping = {
        "Test": ["CMD-SHELL", "if [ -e /up ]; then rm /up; exit 1; else : >/up; fi"],
        "Interval": 50_000_000,
        "Timeout": 2_000_000_000,
        "Retries": 1,
    }
    began = time.monotonic()
    stack.run("flapping", healthcheck=flapping)
    labels = {"relinkd.wait-for": "healthy"}
    stack.run("patient", " ".join(f"flapping:f{at}" for at in range(30)), labels=labels)
    name = stack.name("patient")
    until(lambda: stack.relinkd.log(recipient=name, old=None, state="linked"), "a healthy one")
    until(lambda: len(stack.relinkd.log("link.changed", recipient=name)) >= BURST - 10, "many")
    moves(stack, db, web)
    said = stack.relinkd.log(recipient=name)
    assert len(said) <= 2 * (BURST + RATE * (time.monotonic() - began)) + 1
    # The count of dropped lines is logged once the limit lets a line through again.
    until(lambda: stack.relinkd.log("lines.dropped", recipient=name), "the count")
    assert not stack.relinkd.log("lines.dropped", recipient=stack.name("web"))


def test_a_crash_loop_is_a_bounded_number_of_lines_and_delays_nobody(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    began = time.monotonic()
    crashing = stack.run("crashing", cmd=["sleep", "0.1"], restart="always")
    stack.run("linked", " ".join(f"crashing:c{at}" for at in range(30)))
    stop = threading.Event()

    def again() -> None:
        # The engine's own policy waits longer each time.
        while not stop.is_set():
            stack.client.restart(crashing)

    thread = threading.Thread(target=again)
    thread.start()
    try:
        name = stack.name("linked")
        until(lambda: stack.relinkd.log("lines.dropped", recipient=name), "too many")
        moves(stack, db, web)
    finally:
        stop.set()
        thread.join()
    said = stack.relinkd.log(recipient=name)
    assert len(said) <= 2 * (BURST + RATE * (time.monotonic() - began)) + 1
