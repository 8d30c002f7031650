"""A recipient and what it is linked to, for the tests of `reconciler.links`."""

from tests.builders import World, container, network

HELD = "255.255.255.255 db"


def back() -> World:
    """`web` on `back`, linked to whatever the test adds as `db`."""
    world = World(network("back"), network("front"), network("bridge"))
    world.add(container("web", "db"), back="10.0.0.9")
    return world


def linked_to(world: World, recipient: str = "web") -> list[str]:
    """Names of the containers that the only link reaches."""
    return [target.name for target in world.link(recipient).targets]
