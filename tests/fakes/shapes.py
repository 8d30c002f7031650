"""The engine's answers, made from what real engines answered: only what varies is put in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

from tests.fakes.generations import Generation, Json, Version, recorded
from tests.fakes.model import BUILTIN, Container, Endpoint, Network
from tests.fakes.moments import ago, instant
from tests.fakes.state import World
from tests.fakes.swarm import balancer

# What API 1.52 took out of NetworkSettings.
_ADDRESS_FIELDS = (
    "EndpointID",
    "Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "MacAddress",
)


class Shapes:
    """Answers about one world, as its generation spells them."""

    def __init__(self, world: World) -> None:
        self._world = world
        # A list of 10,000 is 10 MB: an element is encoded again only when it says something new.
        self._elements: dict[str, tuple[Container, object, bytes]] = {}

    @property
    def _generation(self) -> Generation:
        return self._world.generation

    # -- endpoints

    def _endpoint(
        self, container: Container, name: str, endpoint: Endpoint, api: Version, *, brief: bool
    ) -> Json:
        network = self._world.networks.get(endpoint.network_id)
        config, user = endpoint.config, name not in BUILTIN
        v4, v6 = (network.pool(4), network.pool(6)) if network else (None, None)
        aliases = config.get("Aliases")
        dns_names = None
        if user:
            names = dict.fromkeys([*(aliases or ()), container.id[:12], container.hostname])
            dns_names = [container.name, *names]
            if api < (1, 45):
                aliases = [*names]
        shown: Json = {
            "IPAMConfig": config.get("IPAMConfig"),
            "Links": None if brief else config.get("Links"),
            "Aliases": None if brief else aliases,
            "MacAddress": endpoint.mac,
            "DriverOpts": None if brief else config.get("DriverOpts"),
            "GwPriority": config.get("GwPriority", 0),
            "NetworkID": endpoint.network_id,
            "EndpointID": endpoint.endpoint_id,
            "Gateway": v4.gateway if v4 and endpoint.ipv4 else "",
            "IPAddress": endpoint.ipv4,
            "IPPrefixLen": v4.subnet.prefixlen if v4 and endpoint.ipv4 else 0,
            "IPv6Gateway": v6.gateway if v6 and endpoint.ipv6 else "",
            "GlobalIPv6Address": endpoint.ipv6,
            "GlobalIPv6PrefixLen": v6.subnet.prefixlen if v6 and endpoint.ipv6 else 0,
            "DNSNames": None if brief else dns_names,
        }
        if network and network.internal and self._generation.number >= 26:
            shown["Gateway"] = shown["IPv6Gateway"] = ""
        if self._generation.number < 28:
            del shown["GwPriority"]
        if self._generation.number < 26:
            del shown["DNSNames"]
        return shown

    def _networks(self, container: Container, api: Version, *, brief: bool) -> Json:
        return {
            name: self._endpoint(container, name, endpoint, api, brief=brief)
            for name, endpoint in container.endpoints.items()
        }

    # -- containers

    def inspect(self, container: Container, api: Version) -> Json:
        """Return what `GET /containers/{id}/json` says."""
        shown: Json = dict(recorded(self._generation.release, "inspect-db"))
        given = container.config
        argv = [*(given.get("Entrypoint") or ()), *(given.get("Cmd") or ("sleep", "1000000"))]
        folder = self._world.root / "containers" / container.id
        paths = dict.fromkeys(("ResolvConfPath", "HostnamePath", "HostsPath", "LogPath"), "")
        if container.hosts_path:
            place = container.hosts_path.removesuffix("hosts")
            paths = {
                "ResolvConfPath": f"{place}resolv.conf",
                "HostnamePath": f"{place}hostname",
                "HostsPath": container.hosts_path,
                "LogPath": f"{folder}/{container.id}-json.log",
            }
        shown |= {
            "Id": container.id,
            "Created": instant(container.created),
            "Path": argv[0],
            "Args": argv[1:],
            "State": self._state(container),
            "Name": f"/{container.name}",
            "RestartCount": container.restart_count,
            "HostConfig": self._host_config(container, shown["HostConfig"]),
            "Mounts": self._mounts(container),
            "Config": self._config(container, shown["Config"]),
            "NetworkSettings": self._network_settings(container, api),
        }
        return shown | paths

    @staticmethod
    def _state(container: Container) -> Json:
        status = "paused" if container.paused else container.status
        state = {
            "Status": status,
            "Running": container.running or status == "restarting",
            "Paused": container.paused,
            "Restarting": status == "restarting",
            "OOMKilled": False,
            "Dead": False,
            "Pid": container.pid,
            "ExitCode": container.exit_code,
            "Error": container.error,
            "StartedAt": instant(container.started),
            "FinishedAt": instant(container.finished),
        }
        if container.health:
            state["Health"] = {"Status": container.health, "FailingStreak": 0, "Log": []}
        return state

    @staticmethod
    def _host_config(container: Container, template: Json) -> Json:
        given = {key: value for key, value in container.host_config.items() if value}
        links = [f"/{link.source.name}:/{container.name}/{link.alias}" for link in container.links]
        return template | given | {"Links": links or None}

    @staticmethod
    def _mounts(container: Container) -> list[Json]:
        mounts = []
        for bind in container.host_config.get("Binds") or ():
            source, target, *mode = bind.split(":")
            mounts.append(
                {
                    "Type": "bind",
                    "Source": source,
                    "Destination": target,
                    "Mode": "".join(mode),
                    "RW": mode != ["ro"],
                    "Propagation": "rprivate",
                }
            )
        return mounts

    @staticmethod
    def _config(container: Container, template: Json) -> Json:
        optional = ("ExposedPorts", "Healthcheck", "StopSignal")
        always = {key: value for key, value in template.items() if key not in optional}
        given = {
            key: value
            for key, value in container.config.items()
            if key != "Image" and (value or key in {"Labels", "Hostname"})
        }
        return always | {"Env": None} | given | {"Image": container.config["Image"]}

    def _network_settings(self, container: Container, api: Version) -> Json:
        release, sandbox = self._generation.release, container.sandbox_id
        if api < (1, 52) <= self._generation.api:
            release = "28.5.2"  # 29 still tells older clients what it dropped
        shown: Json = dict(recorded(release, "inspect-db-created")["NetworkSettings"])
        networks = self._networks(container, api, brief=False)
        shown |= {
            "SandboxID": sandbox,
            "SandboxKey": f"/var/run/docker/netns/{sandbox[:12]}" if sandbox else "",
            "Ports": self._ports(container) if container.running else {},
            "Networks": networks,
        }
        if "IPAddress" in shown and (bridge := networks.get("bridge")):
            shown |= {key: bridge[key] for key in _ADDRESS_FIELDS}
        return shown

    @staticmethod
    def _ports(container: Container) -> Json:
        bound = container.host_config.get("PortBindings") or {}
        return {port: bound.get(port) for port in container.config.get("ExposedPorts") or bound}

    # -- the list

    def summaries(self, api: Version, *, everything: bool, filters: dict[str, list[str]]) -> bytes:
        """Return what `GET /containers/json` says: newest first, from the replicas."""
        elements = [
            self._element(container, api)
            for container in reversed([*self._world.containers.values()])
            if (everything or container.recorded.running)
            and self._passes(container.recorded, filters)
        ]
        return b"[" + b",".join(elements) + b"]"

    def _passes(self, container: Container, filters: dict[str, list[str]]) -> bool:
        tests: dict[str, Callable[[str], object]] = {
            "id": container.id.startswith,
            "name": lambda value: any(
                re.search(value, name) or re.search(value, name.removeprefix("/"))
                for name in self._world.names(container)
            ),
            "network": lambda value: any(
                value in (name, endpoint.network_id)
                for name, endpoint in container.endpoints.items()
            ),
            "status": lambda value: value == ("paused" if container.paused else container.status),
            "health": lambda value: value == (container.health or "none"),
        }
        for key, values in filters.items():
            if key == "label":
                if not labelled(container.labels, values):
                    return False
            elif values and not any(tests[key](value) for value in values):
                return False
        return True

    def _element(self, container: Container, api: Version) -> bytes:
        replica, names = container.recorded, self._world.names(container)
        status = self._status(replica)
        said = (names, status, api, self._generation.number)
        known = self._elements.get(container.id)
        if known is None or known[0] is not replica or known[1] != said:
            text = json.dumps(self._summary(replica, names, status, api)).encode()
            self._elements[container.id] = known = (replica, said, text)
        return known[2]

    @staticmethod
    def _status(container: Container) -> str:
        match container.status:
            case "created":
                return "Created"
            case "running":
                health = f" ({container.health})" if container.health else ""
                if container.health == "starting":
                    health = " (health: starting)"
                paused = " (Paused)" if container.paused else ""
                return f"Up {ago(container.started)}{health}{paused}"
            case "restarting":
                return f"Restarting ({container.exit_code}) {ago(container.finished)} ago"
        return f"Exited ({container.exit_code}) {ago(container.finished)} ago"

    def _summary(
        self, container: Container, names: Iterable[str], status: str, api: Version
    ) -> Json:
        template = recorded(self._generation.release, "list")[0]
        cmd = container.config.get("Cmd") or ("sleep", "1000000")
        shown: Json = template | {
            "Id": container.id,
            "Names": [*names],
            "Image": container.config["Image"],
            "Command": " ".join([*(container.config.get("Entrypoint") or ()), *cmd]),
            "Created": container.created // 10**9,
            "Ports": self._port_list(container) if container.running else [],
            "Labels": container.labels,
            "State": "paused" if container.paused else container.status,
            "Status": status,
            "HostConfig": {"NetworkMode": container.mode},
            "NetworkSettings": {"Networks": self._networks(container, api, brief=True)},
            "Mounts": self._mounts(container),
        }
        if "Health" in shown:
            shown["Health"] = {"Status": container.health or "none", "FailingStreak": 0}
        return shown

    def _port_list(self, container: Container) -> list[Json]:
        ports: list[Json] = []
        for port, bounds in self._ports(container).items():
            number, _, kind = port.partition("/")
            place: Json = {"PrivatePort": int(number), "Type": kind}
            if not bounds and self._generation.number >= 29:
                place = {"IP": ""} | place
            ports.extend(
                {"IP": bound["HostIp"], "PublicPort": int(bound["HostPort"])} | place
                for bound in bounds or ()
            )
            if not bounds:
                ports.append(place)
        return ports

    # -- networks

    def network(self, network: Network, *, brief: bool = False, verbose: bool = False) -> Json:
        """Return what `GET /networks/{id}` says, and the list without its containers.

        `verbose` is for what Swarm knows of other hosts, while this one has a container there.
        """
        template = recorded(self._generation.release, "network-bridge")
        pools = [
            {"Subnet": str(pool.subnet)}
            | (
                {"Gateway": pool.gateway}
                if pool.gateway_shown or self._generation.number >= 29
                else {}
            )
            for pool in network.pools
        ]
        bridge, builtin = network.name == "bridge", network.name in BUILTIN
        empty: list[Json] | None = None if self._generation.number >= 26 else []
        shown: Json = template | {
            "Name": network.name,
            "Id": network.id,
            "Created": instant(network.created),
            "Driver": network.driver,
            "Scope": network.scope,
            "EnableIPv6": network.ipv6,
            "IPAM": {
                "Driver": "default",
                "Options": None if builtin else {},
                "Config": pools or empty,
            },
            "Internal": network.internal,
            "Containers": {} if brief else self._attached(network),
            "Options": template["Options"] if bridge else network.options,
            "Labels": network.labels,
        }
        if network.scope == "swarm" and network.attached and not brief:
            if verbose:
                shown["Services"] = self._world.swarm.services(network.name, shown["Containers"])
            shown["Containers"] = shown["Containers"] | balancer(network)
        if self._generation.number >= 29:
            shown["Status"] = {"IPAM": {"Subnets": self._in_use(network)}}
            if brief:
                del shown["Containers"], shown["Status"]
        return shown

    def _attached(self, network: Network) -> Json:
        v4, v6 = network.pool(4), network.pool(6)
        return {
            ident: {
                "Name": self._world.containers[ident].name,
                "EndpointID": endpoint.endpoint_id,
                "MacAddress": endpoint.mac,
                "IPv4Address": v4.with_length(endpoint.ipv4) if v4 else "",
                "IPv6Address": v6.with_length(endpoint.ipv6) if v6 else "",
            }
            for ident, endpoint in network.attached.items()
        }

    @staticmethod
    def _in_use(network: Network) -> Json:
        shown = {}
        for pool in network.pools:
            # The network's own address and, in IPv4, the broadcast address count as used.
            used = len(pool.used) + (pool.version == 4)
            shown[str(pool.subnet)] = {
                "IPsInUse": used,
                "DynamicIPsAvailable": pool.subnet.num_addresses - used,
            }
        return shown

    # -- the engine

    def version(self) -> Json:
        """Return what `GET /version` says."""
        version: Json = recorded(self._generation.release, "version")
        return version

    def info(self, ident: str) -> Json:
        """Return the part of `GET /info` that is of use."""
        running = [c for c in self._world.containers.values() if c.running]
        paused = sum(container.paused for container in running)
        return {
            "ID": ident,
            "Containers": len(self._world.containers),
            "ContainersRunning": len(running) - paused,
            "ContainersPaused": paused,
            "ContainersStopped": len(self._world.containers) - len(running),
            "Name": self._world.swarm.name,
            "Swarm": self._world.swarm.info(),
            "ServerVersion": self._generation.release,
            "DockerRootDir": str(self._world.root),
            "Driver": recorded(self._generation.release, "inspect-db")["Driver"],
            "OSType": "linux",
            "SecurityOptions": [],
            "LiveRestoreEnabled": False,
        }


def labelled(labels: Json, wanted: Iterable[str]) -> bool:
    """Tell whether all wanted labels are there: `key` or `key=value`."""
    for value in wanted:
        key, equals, content = value.partition("=")
        if key not in labels or (equals and labels[key] != content):
            return False
    return True
