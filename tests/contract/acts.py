"""What the contract does with containers."""

from __future__ import annotations

from tests.contract.conftest import Stage

API = {20: ("1.41", "1.12"), 26: ("1.45", "1.24"), 28: ("1.51", "1.24"), 29: ("1.55", "1.40")}


def start(engine: Stage) -> None:
    engine.run("db")


def stop(engine: Stage) -> None:
    engine.client.stop(engine.name("db"))


def kill(engine: Stage) -> None:
    engine.client.kill(engine.name("db"))


def crash(engine: Stage) -> None:
    engine.crash(engine.client.inspect(engine.name("db"))["Id"])
