"""What an engine tells of its Swarm: tasks on a network, its own place, the names of hosts."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from watchers import wire
from watchers.model import VIRTUAL, Endpoint, Here, Task
from watchers.texts import NAME, canonical, short


def tasks_of(services: Mapping[str, wire.ServicePart | None]) -> Iterator[Task]:
    """Yield Swarm's tasks on a network; a service with a virtual IP is one task, at that address.

    Plain containers are tasks of the service without a name.
    """
    for name, service in services.items():
        tasks = (service.Tasks if service else None) or ()
        virtual = canonical(short(service.VIP)) if service and name else None
        if virtual is not None and tasks:
            yield Task(short(name), VIRTUAL, Endpoint(virtual, None), short(name))
            continue
        for task in tasks:
            address = canonical(short(task.EndpointIP))
            host = canonical(short(task.Info.host)) if task.Info else None
            if address is None or host is None or not NAME(task.Name):
                continue
            family = Endpoint(None, address) if ":" in address else Endpoint(address, None)
            yield Task(task.Name, host, family, short(name))


def parse_here(body: bytes) -> Here | None:
    """Read the host's name and its place in a Swarm from `GET /info`; None if it has no name.

    Raises:
        MalformedError: The body is not JSON.
    """
    found = wire.decode(body, wire.INFO)
    if found is None or not NAME(found.Name):
        return None
    swarm = found.Swarm or wire.SwarmPart()
    return Here(found.Name, canonical(short(swarm.NodeAddr)), manager=swarm.ControlAvailable)


def parse_nodes(body: bytes) -> dict[str, str] | None:
    """Read `GET /nodes`: the names of a Swarm's hosts by address; None if it is not a list.

    Raises:
        MalformedError: The body is not JSON.
    """
    items = wire.decode(body, wire.NODES)
    if items is None:
        return None
    found = ((_address_of(item), item.Description.Hostname) for item in items if item.Description)
    return {address: name for address, name in found if address and NAME(name)}


def _address_of(node: wire.NodePart) -> str | None:
    """Return a host's address.

    The status of a leader that was elected later says 0.0.0.0 (28.5). Its entry as a manager has
    the true address.
    """
    address = canonical(short(node.Status.Addr)) if node.Status else None
    if address is not None and not ip_address(address).is_unspecified:
        return address
    managed = node.ManagerStatus.Addr if node.ManagerStatus else ""
    return canonical(short(managed.rpartition(":")[0].strip("[]")))
