"""Recipients that keep an address, told when it changed: by signal, by command, by restart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.engine.stack import Stack, until
from tests.lab.images import load_nginx

ALLOW = "--allow=exec,signal,restart"
FOREVER = "while :; do sleep 0.1; done"
HEARING = ["sh", "-c", f"trap 'ping -c1 -W1 db 2>&1 | head -n1 >>/heard' HUP; {FOREVER}"]


@pytest.fixture
def telling(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """Let a relinkd that may act take the place of the one that all scenarios share."""
    with stack.instead(tmp_path, ALLOW, recorded=True):
        yield stack


def _on_change(how: str) -> dict[str, str]:
    return {"relinkd.on-change": how}


def _calls(stack: Stack, recipient: str) -> list[dict[str, Any]]:
    """Return the calls of a recipient so far for what it had known otherwise.

    On a machine that does other things its file may be late for its start: that is told, too.
    """
    lines = stack.relinkd.log("on_change.called", container=stack.name(recipient))
    return [line for line in lines if any(change["old"] for change in line["changes"])]


def _await_call(stack: Stack, recipient: str, times: int = 1) -> dict[str, Any]:
    until(lambda: len(_calls(stack, recipient)) >= times, f"call {times} of {recipient}")
    return _calls(stack, recipient)[times - 1]


def _changes(call: dict[str, Any]) -> list[tuple[str, list[str], list[str]]]:
    return [(each["alias"], each["old"], each["new"]) for each in call["changes"]]


def _in(stack: Stack, container: str, *argv: str) -> str:
    return stack.client.exec(container, argv)[1].strip()


def _began(stack: Stack, container: str) -> str:
    state = stack.client.inspect(container)["State"]
    assert state["Running"]
    return str(state["StartedAt"])


@pytest.mark.core
def test_a_signal_comes_once_after_the_file_and_leaves_the_restart_policy(
    telling: Stack,
) -> None:
    stack = telling
    db = stack.run("db")
    # As most containers are: one with another stop signal loses less by the engine's kill call.
    usual: dict[str, Any] = {"restart": "unless-stopped", "stop_signal": "SIGTERM"}
    web = stack.run("web", "db", cmd=HEARING, labels=_on_change("signal:HUP"), **usual)
    old = stack.address(db)
    stack.await_lookup(web, "db", old)
    stack.client.stop(db)
    stack.await_lookup(web, "db")
    stack.client.start(db)  # where it was: nothing to be told of
    stack.await_lookup(web, "db", old)
    new = stack.moved(db)
    call = _await_call(stack, "web")
    assert call["how"] == "signal"
    assert _changes(call) == [("db", [old], [new])]
    until(lambda: new in _in(stack, web, "cat", "/heard"), "the signal")

    began = _began(stack, web)
    stack.kill_process(web)

    def again() -> bool:
        found = stack.client.inspect(web)  # which says `Running` of one that waits, too
        return found["RestartCount"] == 1 and str(found["State"]["StartedAt"]) > began

    until(again, "the restart policy")
    assert _began(stack, web) > began
    heard = _in(stack, web, "cat", "/heard").splitlines()
    assert len(heard) == len(stack.relinkd.log("on_change.called", container=stack.name("web")))
    assert f"({new})" in heard[-1]
    assert len(_calls(stack, "web")) == 1
    stack.relinkd.stop()
    sent = stack.relinkd.record
    stack.relinkd.close()
    assert not [line for line in sent.read_text().splitlines() if "/kill" in line]


NGINX_CONF = (
    "events {} http { access_log off; server { listen 80; location / { "
    "proxy_ignore_client_abort on; proxy_pass http://db/; } } }"
)
NGINX = f"""
mkdir -p /etc/nginx
echo '{NGINX_CONF}' >/etc/nginx/nginx.conf
until nginx -tq; do sleep 0.1; done
exec nginx -g 'daemon off;'
"""


def _served(text: str) -> list[str]:
    serve = "mkdir /www; echo %s >/www/index.html; exec httpd -f -p 80 -h /www"
    return ["sh", "-c", serve % text]


def test_nginx_reaches_the_new_back_end_and_without_the_label_a_stranger(
    telling: Stack,
) -> None:
    stack = telling
    image = load_nginx(stack.client)
    network = stack.network("back", "172.30.9.0/24")
    db = stack.run("db", network=network, ip="172.30.9.10", cmd=_served("old"))
    server: dict[str, Any] = {
        "image": image,
        "network": network,
        "entrypoint": ["sh", "-c"],
        "cmd": [NGINX],
    }
    labels = {
        "ordered": _on_change("exec:nginx -s reload"),
        "signalled": _on_change("signal:HUP"),
        "untold": {},
    }
    webs = {name: stack.run(name, "db", **server, labels=labels[name]) for name in labels}
    client = stack.run("client", network=network)

    def body(container: str) -> str:
        ask = (
            f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {stack.address(container, network)} 80"
        )
        return _in(stack, client, "sh", "-c", ask).partition("\r\n\r\n")[2]

    def bodies() -> dict[str, str]:
        return {name: body(web) for name, web in webs.items()}

    until(lambda: bodies() == dict.fromkeys(webs, "old"), "nginx")
    stack.client.remove(db)
    stack.run("stranger", network=network, ip="172.30.9.10", cmd=_served("stranger"))
    stack.run("db", network=network, ip="172.30.9.11", cmd=_served("new"))
    for name in ("ordered", "signalled"):
        assert _changes(_await_call(stack, name)) == [("db", ["172.30.9.10"], ["172.30.9.11"])]
    stack.await_lookup(webs["untold"], "db", "172.30.9.11")
    told = {"ordered": "new", "signalled": "new", "untold": "stranger"}
    until(lambda: bodies() == told, "the new back end")


def test_a_command_runs_as_it_stands_and_says_why_it_failed(telling: Stack) -> None:
    stack = telling
    db = stack.run("db")
    labels = {
        "inside": """exec:sh -c 'echo "$(hostname)" >>/said; echo "$0; $1" >>/said' a 'b|c'""",
        "literal": "exec:touch -- $(id) ; | * `id` $HOME a\\ b",
        "failing": "exec:sh -c 'printf \"\\n\\033[31mno good\\nmore\\n\" >&2; exit 3'",
        "shellless": "signal:HUP",
    }
    images = {"shellless": "single"}
    webs = {
        name: stack.run(
            name, "db", image=images.get(name, "busybox"), hostname=name, labels=_on_change(how)
        )
        for name, how in labels.items()
    }
    for web in webs.values():
        stack.await_lookup(web, "db", stack.address(db))
    stack.moved(db)
    assert _await_call(stack, "inside")["how"] == "exec"
    said = _in(stack, webs["inside"], "cat", "/said").splitlines()
    assert said[-2:] == ["inside", "a; b|c"]
    _await_call(stack, "literal")
    found = _in(stack, webs["literal"], "ls", "-a", "/").splitlines()
    assert {"$(id)", ";", "|", "*", "`id`", "$HOME", "a b"} <= {*found}

    def reasons(name: str) -> list[str]:
        lines = stack.relinkd.log("on_change.failed", container=stack.name(name))
        return [line["reason"] for line in lines]

    until(lambda: reasons("failing") and reasons("shellless"), "failures")
    assert reasons("failing") == [r"'sh' ended with code 3: '\x1b[31mno good'"]
    (reason,) = reasons("shellless")
    assert "kill" in reason
    for name in ("failing", "shellless"):
        assert not stack.relinkd.log("on_change.called", container=stack.name(name))


def test_a_restart_is_one_and_causes_no_other(telling: Stack) -> None:
    stack = telling
    spare, end = stack.run("spare"), stack.run("end")
    middle = stack.run("middle", "end", labels=_on_change("restart"))
    begin = stack.run("begin", "middle", labels=_on_change("restart"))
    calm = stack.run("calm", "middle", labels=_on_change("exec:true"))
    first = stack.address(middle)
    for container in (begin, calm):
        stack.await_lookup(container, "middle", first)
    stack.await_lookup(middle, "end", stack.address(end))
    began = _began(stack, middle)
    # Engines give the lowest address that is free: the end of the chain goes to the spare one, and
    # its recipient, when it is restarted, to the end's.
    stack.client.stop(spare)
    stack.client.restart(end)
    call = _await_call(stack, "middle")
    assert call["how"] == "restart"
    assert _changes(call)[0][2] == [stack.address(end)]
    moved = stack.address(middle)
    assert moved != first
    assert _began(stack, middle) > began
    stack.await_lookup(middle, "end", stack.address(end))
    stack.await_lookup(begin, "middle", moved)
    # Whoever asks for less than a restart hears of what a restart of ours did, after the other.
    assert _changes(_await_call(stack, "calm")) == [("middle", [first], [moved])]
    assert "all is well" in stack.relinkd.call("check", ALLOW)
    assert len(_calls(stack, "middle")) == 1
    assert not _calls(stack, "begin")


def test_two_that_reach_each_other_are_not_restarted_and_named(telling: Stack) -> None:
    stack = telling
    left = stack.create("left", "between", labels=_on_change("restart"))
    between = stack.create("between", "right")
    right = stack.create("right", "left", labels=_on_change("restart"))
    for container in (left, between, right):
        stack.client.start(container)
    for recipient, alias, source in ((left, "between", between), (right, "left", left)):
        stack.await_lookup(recipient, alias, stack.address(source))
    began = _began(stack, right)
    stack.moved(left)
    until(lambda: stack.relinkd.log("on_change.refused", container=stack.name("right")), "refusal")
    refused = stack.relinkd.log("on_change.refused", container=stack.name("right"))[0]
    names = [stack.name(each) for each in ("left", "between", "right", "left")]
    assert " -> ".join([stack.name("right"), *names[:-1]]) in refused["reason"]
    checked = stack.relinkd.call("check", ALLOW, code=1)
    assert f"{stack.name('left')}: relinkd.on-change: " in checked
    assert " -> ".join(names) in checked
    assert _began(stack, right) == began
    assert not stack.relinkd.log("on_change.called", how="restart")


def test_a_link_recipient_is_not_restarted_while_the_engine_would_not_start_it(
    telling: Stack,
) -> None:
    stack = telling
    db, other = stack.run("db"), stack.run("other")
    links = [f"{stack.name(each)}:{each}" for each in ("db", "other")]
    web = stack.run("web", links=links, labels=_on_change("restart"))
    stack.await_lookup(web, "db", stack.address(db))
    began = _began(stack, web)
    stack.client.stop(other)
    stack.moved(db)
    until(
        lambda: stack.relinkd.log("on_change.refused", container=stack.name("web")), "the refusal"
    )
    (refused,) = stack.relinkd.log("on_change.refused", container=stack.name("web"))
    assert f"{stack.name('other')} is exited" in refused["reason"]
    assert refused["reason"] in stack.relinkd.call("check", ALLOW, code=1)
    assert _began(stack, web) == began
    stack.client.start(other)
    until(lambda: _calls(stack, "web"), "the restart")
    until(lambda: stack.client.inspect(web)["State"]["StartedAt"] > began)
    assert _began(stack, web) > began
    assert "all is well" in stack.relinkd.call("check", ALLOW)


def test_a_storm_is_a_few_calls_and_the_last_tells_the_last(telling: Stack) -> None:
    stack = telling
    network = stack.network("back", "172.30.9.0/24")
    db = stack.run("db", network=network, ip="172.30.9.10")
    how = "exec:sh -c 'grep -w db /etc/hosts >>/said'"
    web = stack.run("web", "db", network=network, labels=_on_change(how))
    stack.await_lookup(web, "db", "172.30.9.10")
    for number in range(11, 19):
        stack.client.disconnect(network, db)
        stack.client.connect(network, db, ip=f"172.30.9.{number}")
        stack.client.restart(db)

    def last() -> list[str]:
        calls = _calls(stack, "web")
        return calls[-1]["changes"][0]["new"] if calls else []

    until(lambda: last() == ["172.30.9.18"], "the last address")

    def said() -> list[str]:
        return _in(stack, web, "cat", "/said").splitlines()

    # A call during which the source went down again is no telling, and is made once more.
    until(lambda: said()[-1].split()[0] == "172.30.9.18", "the last word")
    calls = stack.relinkd.log("on_change.called", container=stack.name("web"))
    assert len(calls) == len(said())
    times = [line["timestamp"] for line in calls]
    assert len(times) <= 2 + _seconds_between(times[0], times[-1]) // 10
    assert all(_seconds_between(one, other) >= 9.9 for one, other in pairwise(times))


def _seconds_between(one: str, other: str) -> float:
    return (datetime.fromisoformat(other) - datetime.fromisoformat(one)).total_seconds()


def test_those_who_share_a_file_hear_of_their_own_aliases_and_of_late_sources(
    telling: Stack,
) -> None:
    stack = telling
    vpn = stack.run("vpn", "cache", labels=_on_change("exec:true"))
    kid = stack.create(
        "kid", "db", network=f"container:{vpn}", cmd=HEARING, labels=_on_change("signal:HUP")
    )
    stack.client.start(kid)
    until(lambda: "relinkd begin" in stack.hosts(vpn))
    db = stack.run("db")
    name = stack.name("kid")
    until(lambda: stack.relinkd.log("on_change.called", container=name), "the call")
    (call,) = stack.relinkd.log("on_change.called", container=name)
    assert _changes(call) == [("db", [], [stack.address(db)])]
    until(lambda: stack.address(db) in _in(stack, kid, "cat", "/heard"), "the signal")
    assert not stack.relinkd.log("on_change.called", container=stack.name("vpn"))


def test_nobody_is_told_without_allow(stack: Stack) -> None:
    """What it asked of the engine all the while is asserted where the daemon is closed."""
    db = stack.run("db")
    web = stack.run("web", "db", cmd=HEARING, labels=_on_change("signal:HUP"))
    stack.await_lookup(web, "db", stack.address(db))
    new = stack.moved(db)
    stack.await_lookup(web, "db", new)
    (said,) = stack.relinkd.log("label.problem", recipient=stack.name("web"))
    assert "--allow signal" in said["problem"]
    assert "--allow signal" in stack.relinkd.call("check", code=1)
    assert stack.client.exec(web, ["cat", "/heard"])[0] != 0
