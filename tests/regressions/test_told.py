"""Trouble that lasted and was not logged, or was explained wrongly."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.engine.stack import Stack, until


def test_a_file_without_its_localhost_line_fails_without_a_word(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db:db")
    stack.await_lookup(web, "db", stack.address(db))
    stack.hosts_path(web).write_text("192.0.2.7\tmine\n")
    name = stack.name("web")
    until(lambda: stack.relinkd.log("delivery.failed", recipient=name), "the log line")
    assert "localhost" in stack.relinkd.log("delivery.failed", recipient=name)[0]["reason"]
    row = stack.state("web", "db")
    assert row["state"] == "failed"
    assert "localhost" in row["reason"]


def test_a_recipient_that_keeps_its_hosts_file_open_never_gets_a_line(
    stack: Stack, tmp_path: Path
) -> None:
    """The kernel leases no file that another program has open, and new lines waited for that."""
    db = stack.run("db")
    stack.relinkd.stop()  # `instead` starts another one; this recipient was there before it
    web = stack.run("web", "db:db")
    with (
        stack.hosts_path(web).open("rb"),
        stack.instead(tmp_path / "late") as relinkd,
    ):
        stack.await_lookup(web, "db", stack.address(db))
        until(lambda: relinkd.log("leases.unavailable"), "the log line")
        assert "keeps the hosts file open" in relinkd.log("leases.unavailable")[0]["reason"]
        assert stack.state("web", "db")["state"] == "linked"


def test_an_alias_leads_to_another_container_since_the_file_became_too_large(
    stack: Stack,
) -> None:
    db = stack.run("db")
    web = stack.run("web", "db:db")
    stack.await_lookup(web, "db", stack.address(db))
    with stack.hosts_path(web).open("a") as file:
        file.writelines(f"192.0.2.1\tforeign{number}\n" for number in range(5000))
    stack.client.stop(db)
    stack.await_lookup(web, "db")
    name = stack.name("web")
    until(lambda: stack.relinkd.log("delivery.failed", recipient=name), "the log line")
    assert "4096 lines" in stack.relinkd.log("delivery.failed", recipient=name)[0]["reason"]


def test_a_recipient_whose_network_went_with_its_owner_is_called_linked(stack: Stack) -> None:
    stack.run("db")
    owner = stack.run("x")
    child = stack.run("child", "db:db", network=f"container:{owner}")
    until(lambda: stack.state("child", "db")["state"] == "linked")
    stack.client.restart(owner)
    until(lambda: stack.state("child", "db")["state"] == "failed")
    reason = stack.state("child", "db")["reason"]
    assert "stranded" in reason
    assert f"restart {stack.name('child')}" in reason
    assert child


def test_a_link_that_becomes_unreachable_is_only_an_info_without_a_reason(stack: Stack) -> None:
    one, two = stack.network("one"), stack.network("two")
    db = stack.run("db", network=one)
    web = stack.run("web", "db:db", network=one)
    stack.await_lookup(web, "db", stack.address(db, one))
    stack.client.connect(two, db)
    stack.client.disconnect(one, db)
    name = stack.name("web")
    until(lambda: stack.relinkd.log("link.state", recipient=name, state="unreachable"))
    (line,) = stack.relinkd.log("link.state", recipient=name, state="unreachable")
    assert line["level"] == "warning"
    assert "no shared network" in line["reason"]
    changed = [each for each in stack.relinkd.log("link.changed", recipient=name) if each["old"]]
    assert all(each["reason"] for each in changed)


def test_a_recipient_whose_owner_was_removed_is_not_listed(stack: Stack) -> None:
    """`links` had no row, `check` was content, and the log said nothing."""
    stack.run("db")
    owner = stack.run("x")
    stack.run("child", "db:db", network=f"container:{owner}")
    until(lambda: stack.state("child", "db")["state"] == "linked")
    stack.client.remove(owner)
    name = stack.name("child")
    until(lambda: stack.relinkd.log("link.state", recipient=name, state="failed"), "the log line")
    reason = stack.state("child", "db")["reason"]
    assert reason == stack.relinkd.log("link.state", recipient=name)[0]["reason"]
    assert f"create {name} again" in reason
    assert f"{name}: db is failed" in stack.relinkd.call("check", code=1)
    assert stack.relinkd.log("delivery.failed", recipient=name) == []


def test_a_program_that_reads_another_file_beside_its_owner_is_called_linked(
    stack: Stack, tmp_path: Path
) -> None:
    own = tmp_path / "hosts"
    own.write_text("127.0.0.1\tlocalhost\n")
    stack.run("db")
    owner = stack.run("x")
    network, binds = f"container:{owner}", [f"{own}:/etc/hosts"]
    stack.run("child", "db:db", network=network, binds=binds)
    until(lambda: stack.state("child", "db")["state"] == "failed")
    assert "mounted" in stack.state("child", "db")["reason"]


def test_two_containers_of_one_network_declare_the_same_and_one_is_called_shadowed(
    stack: Stack,
) -> None:
    stack.run("db")
    owner = stack.run("x")
    for short in ("one", "two"):
        stack.run(short, "db:db", network=f"container:{owner}")
    until(lambda: stack.state("one", "db")["state"] == "linked")
    until(lambda: stack.state("two", "db")["state"] == "linked")


def test_commands_ask_whether_relinkd_runs_while_its_log_says_what_is_wrong(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db:db")
    stack.await_lookup(web, "db", stack.address(db))
    name, path = stack.name("web"), stack.hosts_path(web)

    def reason_has(text: str) -> bool:
        return text in stack.state("web", "db")["reason"]

    full = b"127.0.0.1\tlocalhost\n".ljust(1 << 20, b"#")
    for text, why in ((full, "would have more than 1 MiB"), (full + b"#", "larger than 1 MiB")):
        path.write_bytes(text)
        until(partial(reason_has, why), why)
        assert "running?" not in stack.state("web", "db")["reason"]
    said = stack.relinkd.call("explain", name, "db", code=1)
    assert "larger than 1 MiB" in said
    assert "larger than 1 MiB" in stack.relinkd.call("check", code=1)


def test_an_immutable_file_is_not_permitted_and_nothing_says_what_mends_it(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db:db")
    stack.await_lookup(web, "db", stack.address(db))
    path = stack.hosts_path(web)
    was_open = path.open("r+b", buffering=0)
    subprocess.run(["chattr", "+i", str(path)], check=True)
    try:
        with suppress(PermissionError):
            was_open.write(b"1")  # as it was
            pytest.skip("a tmpfs lets those write who had the file open, as relinkd has")
        stack.client.stop(db)
        until(lambda: "chattr -i" in stack.state("web", "db")["reason"])
        name = stack.name("web")
        until(lambda: stack.relinkd.log("delivery.failed", recipient=name), "the log line")
        assert "chattr -i" in stack.relinkd.log("delivery.failed", recipient=name)[0]["reason"]
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)
        was_open.close()
    stack.await_lookup(web, "db")
