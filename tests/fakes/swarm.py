"""A Swarm as one of its hosts tells of it: what the others have on its networks."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from tests.fakes.generations import Json
from tests.fakes.model import Network

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def swarm_id() -> str:
    """Return an ID as Swarm gives it: 25 digits to the base of 36."""
    return "".join(secrets.choice(_DIGITS) for _ in range(25))


@dataclass
class Swarm:
    """This host's place in a Swarm, and what other hosts have on its networks."""

    name: str = "fake"
    """This host's, in a Swarm or not."""
    address: str = ""
    """This host's; empty outside a Swarm."""
    nodes: dict[str, str] = field(default_factory=dict)
    """Address -> name of every host, which only a manager tells."""
    elsewhere: dict[str, dict[str, Json]] = field(default_factory=dict)
    """Network's name -> task's name -> the task, with its service's name as `Service`."""
    virtual: dict[str, str] = field(default_factory=dict)
    """Service -> its virtual IP."""

    def put(self, network: str, name: str, host: str, address: str, service: str = "") -> None:
        """Have another host run a container, or a service's task, on a network."""
        self.elsewhere.setdefault(network, {})[name] = {
            "Name": name,
            "EndpointID": secrets.token_hex(32),
            "EndpointIP": address,
            "Info": {"Host IP": host},
            "Service": service,
        }

    def take(self, network: str, name: str) -> None:
        """Have another host's container end."""
        del self.elsewhere[network][name]

    def info(self) -> Json:
        """Return what `GET /info` says of the Swarm."""
        return {
            "NodeID": swarm_id() if self.address else "",
            "NodeAddr": self.address,
            "LocalNodeState": "active" if self.address else "inactive",
            "ControlAvailable": bool(self.nodes),
        }

    def services(self, network: str, own: dict[str, Json]) -> Json:
        """Return `Services` of a verbose answer: the tasks of all hosts, this one's by `own`."""
        tasks = [
            {
                "Name": each["Name"],
                "EndpointID": each["EndpointID"],
                "EndpointIP": each["IPv4Address"].partition("/")[0],
                "Info": {"Host IP": self.address},
                "Service": "",
            }
            for each in own.values()
        ]
        tasks += self.elsewhere.get(network, {}).values()
        found: Json = {}
        for task in tasks:
            shown = {key: value for key, value in task.items() if key != "Service"}
            service = found.setdefault(
                task["Service"],
                {
                    "VIP": self.virtual.get(task["Service"], "<nil>"),
                    "Ports": [],
                    "LocalLBIndex": 0,
                    "Tasks": [],
                },
            )
            service["Tasks"].append(shown)
        return found


def balancer(network: Network) -> Json:
    """Return the endpoint of Swarm's load balancer on a network, which is no container."""
    pool = network.pools[0]
    return {
        f"lb-{network.name}": {
            "Name": f"{network.name}-endpoint",
            "EndpointID": "1b" * 32,
            "MacAddress": "02:42:0a:00:01:fe",
            "IPv4Address": pool.with_length(str(pool.subnet[-2])),
            "IPv6Address": "",
        }
    }
