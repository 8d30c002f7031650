"""What a container is made of, as `POST /containers/create` takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

Json: TypeAlias = dict[str, Any]


BUILTIN_NETWORKS = frozenset({"bridge", "host", "none"})
# Networks in which the engine itself handles links and which take no endpoint settings.
_PLAIN_MODES = BUILTIN_NETWORKS | {"default"}


class CreateOptions(TypedDict, total=False):
    """What may be said about a new container; what is left out takes the engine's default."""

    image: str  # busybox
    cmd: Sequence[str] | None
    entrypoint: Sequence[str] | None
    labels: Mapping[str, str] | None
    env: Sequence[str]
    links: Sequence[str]  # HostConfig.Links, `docker run --link`
    network: str | None  # HostConfig.NetworkMode: also host, none, container:x
    aliases: Sequence[str]
    endpoint_links: Sequence[str]  # Networks[network].Links, as Compose writes `links:`
    ip: str | None
    ip6: str | None
    gw_priority: int | None  # of the endpoint on `network`; an API of at least 1.48
    hostname: str | None
    extra_hosts: Sequence[str]
    binds: Sequence[str]
    tmpfs: Mapping[str, str] | Sequence[str]
    read_only: bool
    restart: str | None  # always, on-failure:3
    exposed: Sequence[str]  # 80, 53/udp
    ports: Mapping[str, tuple[str, int]] | None  # 80/tcp: (host address, host port)
    healthcheck: Json | None  # durations in nanoseconds
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    user: str | None
    init: bool
    auto_remove: bool
    stop_signal: str  # SIGKILL, so that no test waits for a process that ignores SIGTERM


def _port(text: str) -> str:
    return text if "/" in text else f"{text}/tcp"


def _restart_policy(text: str | None) -> Json:
    name, _, count = (text or "no").partition(":")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def endpoint_body(
    aliases: Sequence[str],
    links: Sequence[str],
    ip: str | None,
    ip6: str | None,
    gw_priority: int | None,
) -> Json:
    addresses = {"IPv4Address": ip, "IPv6Address": ip6}
    ipam = {key: address for key, address in addresses.items() if address}
    settings = {
        "Aliases": [*aliases],
        "Links": [*links],
        "IPAMConfig": ipam,
        "GwPriority": gw_priority,
    }
    return {key: value for key, value in settings.items() if value}


def create_body(options: CreateOptions) -> Json:
    """Return the body of `POST /containers/create` for these options."""
    ports = options.get("ports") or {}
    network = options.get("network")
    tmpfs = options.get("tmpfs", ())
    host_config: Json = {
        "Binds": [*options.get("binds", ())],
        "CapAdd": [*options.get("cap_add", ())],
        "CapDrop": [*options.get("cap_drop", ())],
        "ExtraHosts": [*options.get("extra_hosts", ())],
        "Links": [*options.get("links", ())],
        "NetworkMode": network or "default",
        "PortBindings": {
            _port(port): [{"HostIp": address, "HostPort": str(number)}]
            for port, (address, number) in ports.items()
        },
        "ReadonlyRootfs": options.get("read_only", False),
        "RestartPolicy": _restart_policy(options.get("restart")),
        "Tmpfs": dict(tmpfs) if isinstance(tmpfs, Mapping) else dict.fromkeys(tmpfs, ""),
        "Init": options.get("init", False),
        "AutoRemove": options.get("auto_remove", False),
    }
    body: Json = {
        "Image": options.get("image", "busybox"),
        "Labels": dict(options.get("labels") or {}),
        "Env": [*options.get("env", ())],
        "ExposedPorts": {_port(port): {} for port in (*options.get("exposed", ()), *ports)},
        "StopSignal": options.get("stop_signal", "SIGKILL"),
        "HostConfig": host_config,
    }
    given = {
        "Cmd": options.get("cmd"),
        "Entrypoint": options.get("entrypoint"),
        "Hostname": options.get("hostname"),
        "User": options.get("user"),
        "Healthcheck": options.get("healthcheck"),
    }
    body |= {key: value for key, value in given.items() if value is not None}
    if network and network not in _PLAIN_MODES and not network.startswith("container:"):
        endpoint = endpoint_body(
            options.get("aliases", ()),
            options.get("endpoint_links", ()),
            options.get("ip"),
            options.get("ip6"),
            options.get("gw_priority"),
        )
        body["NetworkingConfig"] = {"EndpointsConfig": {network: endpoint}}
    return body
