"""What Podman's answers mean where they differ from Docker's (docs/podman.md).

Podman is told by its own answer to `GET /version`. It sends no `connect` at a start and no
`disconnect` at an end, and its network events name a container, not a network.
"""

from collections.abc import Mapping
from dataclasses import replace

from watchers import wire
from watchers.model import Hint, Network

INFO = "/v4.0.0/libpod/info"
"""Podman's own question for where it keeps everything."""
FILTERS = {
    "type": ["container", "network"],
    # Podman filters by its own names, and then sends Docker's in some places.
    "event": [
        "cleanup",
        "connect",
        "create",
        "died",
        "disconnect",
        "health_status",
        "pause",
        "remove",
        "rename",
        "start",
        "unpause",
    ],
}
_ENGINE = "Podman Engine"
"""The component of `GET /version` that Docker does not have."""
_NETWORK = "bridge"
_NETWORK_ITSELF = "podman"


def is_podman(body: bytes) -> bool:
    """Whether a `GET /version` is Podman's.

    Raises:
        MalformedError: The body is not JSON.
    """
    found = wire.decode(body, wire.VERSION)
    return found is not None and any(each.Name == _ENGINE for each in found.Components or ())


def hint(
    kind: str, action: str, subject: str, attributes: Mapping[str, str], time_ns: int
) -> Hint | None:
    """Return the hint of an event; None if it is of neither a container nor a network."""
    if kind == "network":
        match action:
            case "connect" | "disconnect":
                # 4.3 does not say which network, 5 has its name.
                return Hint("moved", subject, time_ns=time_ns)
            case "remove":
                return Hint("destroy", network=subject, time_ns=time_ns)
            case _:
                return Hint(action, network=subject, time_ns=time_ns)
    if kind != "container":
        return None
    match action:
        case "die" | "died":
            return Hint("die", subject, time_ns=time_ns, left=True)
        case "remove":
            return Hint("destroy", subject, time_ns=time_ns)
        case "cleanup":
            return Hint("look", subject, time_ns=time_ns)  # a start that failed has ended
        case "health_status":
            return Hint("checked", subject, time_ns=time_ns)
    return Hint(
        action, subject, time_ns=time_ns, name=attributes.get("name", ""), labels=attributes
    )


def as_containers_name_it(network: Network) -> Network:
    """Return a network with the name that containers have for it.

    The default one may be listed as `bridge`. Podman gives no names there.
    """
    if network.name not in (_NETWORK, _NETWORK_ITSELF):
        return network
    return replace(network, name=_NETWORK_ITSELF, has_dns=False)


def parse_containers_dir(body: bytes) -> str | None:
    """Read the directory of containers' hosts files from libpod's info; None if it has none.

    Raises:
        MalformedError: The body is not JSON.
    """
    found = wire.decode(body, wire.PODMAN_INFO)
    store = found.store if found is not None else None
    if store is None or not store.driver or not store.run_root.startswith("/"):
        return None
    return f"{store.run_root.rstrip('/')}/{store.driver}-containers"
