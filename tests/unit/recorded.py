"""What engines of four generations answered, as recorded in tests/fixtures."""

import json
from pathlib import Path
from typing import Any

import pytest

FIXTURES = Path(__file__).parents[1] / "fixtures"
GENERATIONS = ("20.10.24", "26.1.5", "28.5.2", "29.7.2")


# Not by their whole version: that is the mark of a test on a real engine.
IDS = [f"recorded-{each.partition('.')[0]}" for each in GENERATIONS]
generation = pytest.mark.parametrize("generation", GENERATIONS, ids=IDS)


def body(generation: str, name: str) -> bytes:
    return (FIXTURES / generation / f"{name}.json").read_bytes()


def said(generation: str, name: str) -> Any:
    return json.loads(body(generation, name))


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()
