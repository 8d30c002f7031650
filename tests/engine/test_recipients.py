"""Recipients of every kind, and what their first process finds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine.stack import Stack, resolve, until

STARTS = int(os.environ.get("RELINKD_TEST_REPEATS", "12"))
"""First starts, and as many restarts, of one recipient whose first process reads its file."""
SHOW = ["sh", "-c", "cat /etc/hosts; echo seen; exec sleep 1000000"]


@pytest.mark.core
def test_a_recipients_first_process_finds_its_links(stack: Stack) -> None:
    db = stack.run("db")
    address = stack.address(db)
    seen = []
    for _ in range(STARTS):
        web = stack.run("web", "db", cmd=SHOW)
        seen.append(_shown(stack, web, 1))
        stack.client.restart(web)
        seen.append(_shown(stack, web, 2))
        stack.client.remove(web)
    found = seen.count([address])
    print(f"{found} of {len(seen)} first processes found it")
    assert seen.count([]) == len(seen) - found  # too early for it, never a wrong address
    # 20.10 waits 290 ms. 26.1 builds the file again 10 ms before the first process, 28.5 starts it
    # 7 ms after `connect`: who is first there is a race, and without the watch on the file no
    # first process of 26.1 found its links.
    assert found == len(seen) if stack.client.version()["Version"] < "26" else found


def _shown(stack: Stack, recipient: str, start: int) -> list[str]:
    """What `db` resolves to in the file that the first process found at its n-th start."""
    until(lambda: stack.client.logs(recipient).count("seen\n") == start)
    return resolve(stack.client.logs(recipient).split("seen\n")[start - 1], "db")


def test_a_recipient_with_a_read_only_root(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db", read_only=True)
    stack.await_lookup(web, "db", stack.address(db))
    assert stack.ping(web, "db") == stack.address(db)


def test_a_recipient_with_one_static_binary_and_no_shell(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db", image="single")
    stack.await_lookup(web, "db", stack.address(db))
    stack.client.restart(db)
    stack.await_lookup(web, "db", stack.address(db))


def test_a_recipient_with_a_volume_on_etc(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db", binds=[f"{stack.name('etc')}:/etc"])
    stack.await_lookup(web, "db", stack.address(db))
    assert stack.ping(web, "db") == stack.address(db)
    stack.client.remove(web)
    stack.client.raw("DELETE", f"/volumes/{stack.name('etc')}")


def test_a_line_by_add_host_wins_and_is_named(stack: Stack) -> None:
    stack.run("db")
    web = stack.run("web", "db db:other", extra_hosts=["db:192.0.2.7"])
    stack.await_lookup(web, "other", stack.address(stack.name_id("db")))
    assert stack.lookup(web, "db") == ["192.0.2.7"]
    row = stack.state("web", "db")
    assert row["state"] == "shadowed"
    assert "192.0.2.7" in row["reason"]


@pytest.mark.core
def test_lines_written_by_hand_stay_and_the_block_is_put_right(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    stack.client.exec(web, ["sh", "-c", "echo '192.0.2.8 by-hand # mine' >>/etc/hosts"])
    stack.client.restart(db)
    stack.run("squatter")
    stack.await_lookup(web, "db", stack.address(db))
    assert stack.hosts(web).endswith("\n192.0.2.8 by-hand # mine\n")
    spoilt = stack.hosts(web).replace(stack.address(db).ljust(15), "192.0.2.9".ljust(15))
    stack.client.exec(web, ["sh", "-c", f"printf %s '{spoilt}' >/etc/hosts; echo >>/etc/hosts"])
    stack.await_lookup(web, "db", stack.address(db))
    assert resolve(stack.hosts(web), "by-hand") == ["192.0.2.8"]


def test_a_file_that_the_user_mounted_is_never_written(stack: Stack, tmp_path: Path) -> None:
    mine = tmp_path / "hosts"
    mine.write_text("127.0.0.1 localhost\n")
    stack.run("db")
    web = stack.run("web", "db", binds=[f"{mine}:/etc/hosts"])
    row = stack.state("web", "db")
    assert row["state"] == "failed"
    assert "/etc/hosts" in row["reason"]
    until(lambda: stack.relinkd.log("link.state", recipient=stack.name("web"), state="failed"))
    assert mine.read_text() == "127.0.0.1 localhost\n"
    stack.client.remove(web)


@pytest.mark.core
def test_recipients_that_share_a_network_share_one_file(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db:one")
    kid = stack.create("kid", "db:two", network=f"container:{web}")
    stack.client.start(kid)
    stack.await_lookup(web, "one", stack.address(db))
    stack.await_lookup(web, "two", stack.address(db))
    stack.client.stop(db)
    stack.await_lookup(web, "one")
    stack.await_lookup(web, "two")
    stack.client.start(db)
    stack.await_lookup(web, "two", stack.address(db))
    stack.client.remove(kid)
    stack.await_lookup(web, "two")
    stack.await_lookup(web, "one", stack.address(db))


@pytest.mark.parametrize("digits", [64, 12], ids=["whole ID", "short ID"])
def test_a_source_in_container_mode_is_reached_at_its_owner_until_that_restarts(
    stack: Stack, digits: int
) -> None:
    vpn = stack.run("vpn")
    kid = stack.create("kid", network=f"container:{vpn[:digits]}")
    web = stack.run("web", "kid")
    until(lambda: "relinkd begin" in stack.hosts(web))
    stack.client.start(kid)
    stack.await_lookup(web, "kid", stack.address(vpn))
    stack.client.restart(vpn)
    stack.await_lookup(web, "kid")
    row = stack.state("web", "kid")
    assert row["state"] == "down"
    assert "stranded" in row["reason"]
    stack.client.restart(kid)
    stack.await_lookup(web, "kid", stack.address(vpn))


def test_a_restarted_and_renamed_recipient_keeps_its_links(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    stack.client.rename(web, stack.name("site"))
    stack.client.restart(web)
    stack.await_lookup(web, "db", stack.address(db))
    stack.client.stop(web)
    stack.client.start(web)
    stack.await_lookup(web, "db", stack.address(db))
    assert stack.state("site", "db")["state"] == "linked"


LEASE = """
import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
held = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_RDLCK)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_recipient_that_holds_a_lease_on_its_file_delays_nobody(stack: Stack) -> None:
    db = stack.run("db")
    hostile = stack.run("hostile", "db")
    web = stack.run("web", "db")
    for recipient in (hostile, web):
        stack.await_lookup(recipient, "db", stack.address(db))
    # While relinkd runs it has the file open, and the kernel grants nobody a lease to read.
    stack.relinkd.stop()
    argv = [sys.executable, "-c", LEASE, str(stack.hosts_path(hostile))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        stack.relinkd.start()
        began = time.time_ns()
        with stack.witness(web) as witness:
            stack.client.stop(db)
            stack.await_lookup(web, "db")
            squatter = stack.run("squatter")
            stack.client.start(db)
            stack.await_lookup(web, "db", stack.address(db))
        assert witness.first("db", []) < stack.event_time("start", squatter, began)
        assert stack.lookup(hostile, "db") != [stack.address(db)]
        holder.stdin.close()
        holder.wait()
    stack.await_lookup(hostile, "db", stack.address(db))
