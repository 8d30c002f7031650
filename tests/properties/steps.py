"""Steps to small worlds of containers and networks, and what a mirror makes of them."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from reconciler.links.declare import ConfigLink
from tests.builders import compose, container, endpoint, id_of, network, record
from watchers.mirror import STORE, ForeignContainers, Mirror
from watchers.model import (
    Container,
    ContainerAnswer,
    Foreign,
    ForeignNetwork,
    Hint,
    Host,
    ListAnswer,
    NetworkAnswer,
    NetworkListAnswer,
    Task,
)

IDS = [id_of(f"container {number}") for number in range(5)]
# Two that begin alike, for prefixes.
IDS.append(IDS[0][:12] + "0" * 52)
NAMES = ["db", "web", "cache", "shop-db-1", "x", IDS[1][:12]]
SOURCES = ["db", "web", "/db", "cache", "shop/db", "blog/db", IDS[0][:12], IDS[1], "/x", "nobody"]
SOURCES += ["//db", "b//db", "//shop/db", "c//web", "//api", "here//x"]
HOSTS = ["b", "c"]
SOURCES += [IDS[0][:20], f"/{IDS[1]}"]
NETWORKS = {
    each.name: each
    for each in (
        network("bridge", gateways=["10.0.0.1"]),
        network("back", v6=True, gateways=["10.1.0.1", "fd00::1"]),
        network("inner", internal=True),
        network("shop_back"),
        network("over", scope="swarm", subnet="10.4.0.0/16"),
        network("ours", internal=True, labels={"relinkd.private": "db"}),
    )
}

declarations = st.builds(
    lambda source, alias, demand: source + alias + demand,
    st.sampled_from(SOURCES),
    st.sampled_from(["", ":db", ":DB", ":d", ":localhost"]),
    st.sampled_from(["", "", "", "@back", "@bridge", "@nowhere", "@over", "@published"]),
)
labels = st.sampled_from(
    [
        {},
        {},
        *(compose(project, service) for project in ("shop", "blog") for service in ("db", "web")),
        compose("shop", "db", 2),
        compose("shop", "web", oneoff=True),
        {"relinkd.wait-for": "healthy"},
        {"relinkd.family": "6"},
        {"relinkd.enable": "false"},
    ]
)
links = st.lists(declarations, min_size=1, max_size=2).map(",".join) | st.none()
# One of the names is the beginning of an ID, and engines keep the whole ID, whatever was given.
modes = st.sampled_from(
    [
        *["default"] * 8,
        "host",
        "none",
        *(f"container:{each}" for each in (*IDS, *NAMES) if each != IDS[1][:12]),
    ]
)
lives: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"health": "healthy", "started": 2},
        {"health": "starting", "created": 2},
        {"state": "paused", "started": 3},
        {"state": "starting", "networks": ["back", "inner"]},
        {"state": "exited", "networks": ["back"]},
        {"mounts": ["/etc/hosts"]},
    ]
)
configurations: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"inspected": False},
        {"engine_links": ["db:db", "x:d"]},
        {"engine_links": ["cache:db"], "endpoint_links": {"back": ["db:d", "web:w"]}},
        {"endpoint_links": {"bridge": ["x:db"], "back": ["cache:db"]}},
        {"endpoint_links": {"back": [f"{IDS[0][:12]}:db", f"{IDS[1]}:d", f"{IDS[0][:20]}:w"]}},
        {"dns": {"back": ["db"], "inner": ["d", "x"]}},
        {"gw_priority": {"inner": 2, "back": 1}},
    ]
)


def build(name: str, wanted: str | None, id_: str, mode: str, parts: Any) -> Container:
    labels_, life, configuration = parts
    return container(
        name, wanted, id_=id_, mode=mode, labels=labels_, **{"created": 1, **life, **configuration}
    )


def containers(ids: st.SearchStrategy[str]) -> st.SearchStrategy[Container]:
    parts = st.tuples(labels, lives, configurations)
    return st.builds(build, st.sampled_from(NAMES), links, ids, modes, parts)


tables = st.lists(
    st.builds(
        ConfigLink,
        st.sampled_from(["db", "w*", "*", "shop/*", "*/web", "shop-db-?"]),
        st.sampled_from(["db", "/x", "shop/db", IDS[0][:12]]),
        st.sampled_from([None, "db", "d"]),
        st.sampled_from([None, None, "back"]),
        st.sampled_from([None, "healthy"]),
    ),
    max_size=3,
)
"""Of the config file."""

Step = tuple[str, object]
ids = st.sampled_from(IDS)
on = st.dictionaries(ids, st.sampled_from(["10.0.0.2", "10.0.0.3 fd00::3", "fd00::4"]))
records = st.builds(
    lambda host, name, on, **more: record(
        host, name, scope="swarm" if "over" in on else "local", **more, **on
    ),
    host=st.sampled_from(HOSTS),
    name=st.sampled_from(NAMES),
    on=st.dictionaries(
        st.sampled_from(["over", "back"]), st.sampled_from(["10.4.0.2", "10.1.0.9"]), max_size=1
    ),
    labels=st.sampled_from([{}, compose("shop", "db"), compose("shop", "db", 2)]),
    state=st.sampled_from(["running", "running", "exited"]),
    health=st.sampled_from([None, "healthy", "starting"]),
    mode=st.sampled_from(["default", "host"]),
    ports=st.sampled_from([{}, {"80/tcp": ""}, {"80/tcp": ":80"}]),
)
tasks = st.builds(
    Task,
    st.sampled_from(NAMES),
    st.sampled_from(["192.0.2.2", "192.0.2.3"]),
    st.sampled_from([endpoint("10.4.0.2"), endpoint("10.4.0.7")]),
    st.sampled_from(["", "", "api"]),
)
elsewhere: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("record"), records),
    st.tuples(st.just("records"), st.lists(records, max_size=2)),
    st.tuples(st.just("swarm"), st.lists(tasks, max_size=3)),
    st.tuples(st.just("unasked"), st.none()),
    st.tuples(st.just("unheard"), st.sampled_from([STORE, id_of("over")])),
    st.tuples(st.just("lost"), st.sampled_from(HOSTS)),
    st.tuples(
        st.just("host"),
        st.builds(
            Host,
            st.sampled_from(HOSTS),
            st.sampled_from([(), ("192.0.2.2",), ("192.0.2.3",)]),
            st.sampled_from([(), ("back",), ("10.0.0.0/8",)]),
        ),
    ),
)
"""What changes on other hosts."""
steps: st.SearchStrategy[Step] = st.one_of(
    elsewhere,
    st.tuples(st.just("inspect"), containers(ids)),
    st.tuples(st.just("network"), st.tuples(st.sampled_from(sorted(NETWORKS)), on)),
    st.tuples(
        st.just("hint"),
        st.builds(
            lambda action, who, where, name: Hint(action, who, where, 5, name=name),
            st.sampled_from(["die", "destroy", "start", "pause", "rename", "create"]),
            ids,
            st.just(""),
            st.sampled_from(NAMES),
        ),
    ),
    st.tuples(
        st.just("hint"),
        st.builds(
            Hint,
            st.sampled_from(["connect", "disconnect"]),
            ids,
            st.sampled_from([each.id for each in NETWORKS.values()]),
            st.just(4),
        ),
    ),
    st.tuples(
        st.just("hint"),
        st.builds(
            Hint, st.sampled_from(["health_status: healthy", "health_status: unhealthy"]), ids
        ),
    ),
    st.tuples(st.just("list"), st.sets(ids)),
    st.tuples(st.just("networks"), st.sets(st.sampled_from(sorted(NETWORKS)))),
)


@st.composite
def worlds(draw: st.DrawFn) -> list[Step]:
    """Steps to a world in which most things are there and most containers on some network."""
    there = [each for each in IDS if draw(st.integers(0, 4))]
    found: list[Step] = [("inspect", draw(containers(st.just(each)))) for each in there]
    for at, name in enumerate(NETWORKS):
        some = draw(st.integers(0, 2 ** len(IDS) - 1)) if at > 1 else -1
        members = {
            id_: f"10.{at}.0.{number}"
            for number, id_ in enumerate(IDS, 2)
            if some >> (number - 2) & 1
        }
        found.append(("network", (name, members)))
    return found + draw(st.lists(elsewhere, max_size=4))


def change(mirror: Mirror, kind: str, what: object) -> set[str]:
    """Take one step; return which containers changed by it, as the mirror says."""
    match kind, what:
        case "inspect", Container() as whole:
            return mirror.apply_answer(ContainerAnswer(whole.id, mirror.next_revision(), whole))
        case "network", (str(name), dict(members)):
            found = {id_: endpoint(text) for id_, text in members.items()}
            return mirror.apply_answer(
                NetworkAnswer(id_of(name), mirror.next_revision(), NETWORKS[name], found)
            )
        case "hint", Hint() as hint:
            return mirror.apply_event(hint)
        case "list", set(there):
            kept = [each for each in mirror.containers.values() if each.id in there]
            whole_list = tuple(replace(each, detail=None) for each in kept)
            return mirror.apply_answer(ListAnswer(mirror.next_revision(), whole_list))
        case "networks", set(names):
            revision = mirror.next_revision()
            return mirror.apply_answer(NetworkListAnswer(revision, frozenset(map(id_of, names))))
        case _:
            return change_elsewhere(mirror.foreign, kind, what)


def change_elsewhere(foreign: ForeignContainers, kind: str, what: object) -> set[str]:
    match kind, what:
        case "record", Foreign() as told:
            return foreign.apply_one(told.container.id, told)
        case "records", list(told):
            return foreign.apply_all(told)
        case "swarm", list(told):
            named = ForeignNetwork("over", "swarm")
            return foreign.apply_network(id_of("over"), named, frozenset(told))
        case "unheard", str(who):
            foreign.unheard.add(who)
            return set()
        case "unasked", None:
            return foreign.forget_network(id_of("over"))
        case "lost", str(host):
            return foreign.lose_host(host, "not heard")
        case "host", Host() as host:
            return foreign.apply_host(host)
    raise AssertionError(kind)


def new_mirror() -> Mirror:
    mirror = Mirror()
    mirror.foreign.meet(Host("here", routed=("back", "10.0.0.0/8")))
    return mirror
