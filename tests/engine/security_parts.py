"""A source that moves."""

from __future__ import annotations

import time

from tests.engine.stack import Stack, until


def in_loop(script: str) -> list[str]:
    return ["sh", "-c", f"while :; do {script}; done"]


def move(stack: Stack, source: str) -> str:
    """Have a source come up again at another address, its old one being taken."""
    before = stack.address(source)
    stack.client.stop(source)
    # Others that restart meanwhile may have the address for a moment: until a squatter has it.
    until(lambda: stack.address(stack.run(f"squatter-{time.monotonic_ns()}")) == before, "it")
    stack.client.start(source)
    after = stack.address(source)
    assert after != before
    return after


def moves(stack: Stack, source: str, *recipients: str) -> None:
    """Move a source: each recipient loses the alias, then has it at the new address only."""
    witnesses = [stack.witness(recipient) for recipient in recipients]
    for witness in witnesses:
        witness.start()
    began = time.time_ns()
    old = stack.address(source)
    try:
        new = move(stack, source)
        for recipient in recipients:
            stack.await_lookup(recipient, "db", new)
    finally:
        for witness in witnesses:
            witness.__exit__()
    endpoints = stack.client.network("bridge")["Containers"]
    (holder,) = (each for each in endpoints if stack.address(each) == old)
    started = stack.event_time("start", holder, began)
    for witness in witnesses:
        assert witness.addresses("db") == [[old], [], [new]]
        assert witness.first("db", []) < started
