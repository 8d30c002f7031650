"""Containers that want private networks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reconciler.features.private import networks as private
from tests.builders import World, container, id_of, network
from watchers.model import Network

SAYS = {"relinkd.private": "true"}


POOL = "10.213.0.0/16"


def made(source: str, **changes: Any) -> Network:
    """The network that relinkd makes for the source of that name."""
    id_ = id_of(source)
    name = private.network_name(id_)
    labels = {"relinkd.private": id_}
    found = Network(id_of(name), name, internal=True, subnets=("10.213.0.0/28",), labels=labels)
    return replace(found, **changes)


def world(*networks: Network) -> World:
    """`db` on `there`, which `web` on `here` links; both say so."""
    found = World(network("here"), network("there"), *networks)
    found.add(container("db", labels=SAYS), there="10.1.0.2")
    found.add(container("web", "db", labels=SAYS), here="10.0.0.9")
    return found
