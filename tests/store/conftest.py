"""A real etcd of one member, and one of three: each started once, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import entered
from tests.lab.etcd import Etcd, etcd


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave them out of `make test-fast`: etcd has to be downloaded once."""
    for item in items:
        if item.path.is_relative_to(__file__.removesuffix("/conftest.py")):
            item.add_marker(pytest.mark.slow)


def _made(count: int) -> Iterator[Etcd]:
    with ExitStack() as stack:
        yield entered(stack, etcd(count))


@pytest.fixture(scope="session")
def _one() -> Iterator[Etcd]:
    yield from _made(1)


@pytest.fixture(scope="session")
def _three() -> Iterator[Etcd]:
    yield from _made(3)


@pytest.fixture
def one(_one: Etcd) -> Etcd:
    """Return an etcd of one member, empty."""
    return _emptied(_one)


@pytest.fixture
def three(_three: Etcd) -> Etcd:
    """Return an etcd of three members, all well and empty."""
    return _emptied(_three)


def _emptied(cluster: Etcd) -> Etcd:
    for member in cluster.members:
        if not member.ended:
            member.thaw()
    cluster.start()
    cluster.ctl("del", "--prefix", "")
    return cluster
