"""Containers of other hosts in the mirror."""

from watchers.mirror import HEARD, STORE, ForeignContainers
from watchers.model import (
    COMPOSE_PROJECT,
    COMPOSE_SERVICE,
    Container,
    Endpoint,
    Foreign,
    ForeignNetwork,
    Host,
    Network,
    NetworkAnswer,
    Task,
    foreign_id,
)

OVERLAY, BRIDGE = "kx1mq2wc6y5c9rjg8yrq7b0fv", "f" * 64
SWARM = ForeignNetwork("ov", "swarm")


def stored(host: str, name: str, address: str, network: str = OVERLAY) -> Foreign:
    labels = {COMPOSE_PROJECT: "shop", COMPOSE_SERVICE: name}
    container = Container(foreign_id(host, name), name, labels, state="running", host=host)
    told = SWARM if network == OVERLAY else ForeignNetwork("lan")
    return Foreign(container, {network: Endpoint(address, None)}, {network: told})


def task(name: str, host: str, address: str, service: str = "") -> Task:
    return Task(name, host, Endpoint(address, None), service)


def tell(foreign: ForeignContainers, *tasks: Task) -> set[str]:
    return foreign.apply_network(OVERLAY, SWARM, frozenset(tasks))


def ids(mirror: ForeignContainers, *key: str) -> list[str]:
    return [each.id for each in mirror.find(*key)]


def test_what_a_store_tells_is_found_by_name_and_service_in_the_order_of_hosts() -> None:
    foreign = ForeignContainers()

    changed = foreign.apply_all([stored("b", "db", "10.0.1.4"), stored("a", "db", "10.0.1.5")])

    assert changed == {"a//db", "b//db"}
    assert ids(foreign, "name", "db") == ["a//db", "b//db"]
    assert ids(foreign, "service", "shop", "db") == ["a//db", "b//db"]
    assert foreign.endpoints("b//db") == {OVERLAY: Endpoint("10.0.1.4", None)}
    assert foreign.holders("10.0.1.4") == {"b//db"}


def test_a_stores_whole_read_takes_the_place_of_what_it_told() -> None:
    foreign = ForeignContainers()
    foreign.apply_all([stored("b", "db", "10.0.1.4"), stored("b", "web", "10.0.1.5")])

    changed = foreign.apply_all([stored("b", "db", "10.0.1.4"), stored("b", "new", "10.0.1.6")])

    assert changed == {"b//web", "b//new"}
    assert foreign.containers.keys() == {"b//db", "b//new"}
    assert foreign.holders("10.0.1.5") == set()


def test_one_record_changes_one_container() -> None:
    foreign = ForeignContainers()
    foreign.apply_all([stored("b", "db", "10.0.1.4")])

    same = foreign.apply_one("b//db", stored("b", "db", "10.0.1.4"))
    moved = foreign.apply_one("b//db", stored("b", "db", "10.0.1.9"))
    gone = foreign.apply_one("b//db", None)

    assert (same, moved, gone) == (set(), {"b//db"}, {"b//db"})
    assert foreign.containers == {}
    assert foreign.holders("10.0.1.9") == set()


def test_a_lost_hosts_containers_go_and_it_says_why() -> None:
    foreign = ForeignContainers()
    foreign.apply_all([stored("a", "db", "10.0.1.5"), stored("b", "db", "10.0.1.4")])

    assert foreign.lose_host("b", "not heard for 11 s") == {"b//db", HEARD}
    assert foreign.lose_host("b", "not heard for 11 s") == set()

    assert ids(foreign, "name", "db") == ["a//db"]
    assert foreign.hosts["b"].lost == "not heard for 11 s"
    foreign.apply_host(Host("b", ("10.99.0.2",)))
    assert foreign.hosts["b"].lost is None


def test_swarms_tasks_are_running_containers_of_the_host_at_their_address() -> None:
    foreign = ForeignContainers()
    foreign.apply_host(Host("node-b", ("10.99.0.2",)))

    changed = tell(
        foreign, task("b1", "10.99.0.2", "10.0.1.4"), task("c1", "10.99.0.3", "10.0.1.5")
    )

    assert changed == {"node-b//b1", "10.99.0.3//c1"}
    assert foreign.containers["node-b//b1"].running
    assert foreign.containers["10.99.0.3//c1"].host == "10.99.0.3"


def test_a_hosts_name_that_comes_late_renames_its_tasks() -> None:
    foreign = ForeignContainers()
    tell(foreign, task("b1", "10.99.0.2", "10.0.1.4"))

    changed = foreign.apply_host(Host("node-b", ("10.99.0.2",)))

    assert changed == {"10.99.0.2//b1", "node-b//b1", HEARD}
    assert foreign.containers.keys() == {"node-b//b1"}


def test_a_services_tasks_are_found_by_the_service() -> None:
    foreign = ForeignContainers()
    tasks = [task(f"web.{n}.x{n}", f"10.99.0.{n}", f"10.0.1.{n}", "web") for n in (2, 3)]

    tell(foreign, *tasks)

    assert ids(foreign, "task", "web") == ["10.99.0.2//web.2.x2", "10.99.0.3//web.3.x3"]
    assert ids(foreign, "name", "web") == []


def test_a_networks_answer_is_all_that_swarm_tells_of_it() -> None:
    foreign = ForeignContainers()
    foreign.unheard.add(OVERLAY)
    tasks = [task("b1", "10.99.0.2", "10.0.1.4")]
    assert tell(foreign, *tasks) == {"10.99.0.2//b1", HEARD}

    assert tell(foreign) == {"10.99.0.2//b1"}
    assert foreign.containers == {}
    assert foreign.unheard == set()


def test_of_an_answer_the_tasks_of_this_host_are_no_foreign_ones() -> None:
    foreign = ForeignContainers()
    network = Network(OVERLAY, "ov", "overlay", scope="swarm")
    tasks = (
        task("a1", "10.99.0.1", "10.0.1.2"),
        task("a2", "10.99.0.1", "10.0.1.3"),  # whose endpoint is not there any more
        task("b1", "10.99.0.2", "10.0.1.4"),
    )
    endpoints = {"a" * 64: Endpoint("10.0.1.2", None)}

    foreign.apply_answer(NetworkAnswer(OVERLAY, 1, network, endpoints, tasks))
    assert foreign.containers.keys() == {"10.99.0.2//b1"}

    foreign.meet(Host("node-a", ("10.99.0.1",)))
    foreign.apply_answer(NetworkAnswer(OVERLAY, 2, network, {}, tasks))
    assert foreign.containers.keys() == {"10.99.0.2//b1"}


def test_a_manager_names_the_hosts_of_tasks() -> None:
    foreign = ForeignContainers()
    tell(foreign, task("b1", "10.99.0.2", "10.0.1.4"))

    assert foreign.apply_nodes({"10.99.0.2": "node-b"}) == {"10.99.0.2//b1", "node-b//b1", HEARD}
    assert foreign.apply_nodes({"10.99.0.2": "node-b"}) == set()
    assert foreign.host_at("10.99.0.2") == "node-b"


def test_an_engine_out_of_reach_leaves_what_it_told_unheard() -> None:
    foreign = ForeignContainers()
    tell(foreign, task("b1", "10.99.0.2", "10.0.1.4"))

    foreign.lose_swarm()

    assert foreign.containers == {}
    assert foreign.unheard == {OVERLAY}


def test_an_answer_in_another_order_changes_nothing() -> None:
    foreign = ForeignContainers()
    one, two = task("b1", "10.99.0.2", "10.0.1.4"), task("c1", "10.99.0.3", "10.0.1.5")
    assert tell(foreign, one, two)
    changes = foreign.changes

    assert tell(foreign, two, one) == set()
    assert foreign.changes == changes


def test_of_two_endpoints_of_a_container_the_other_counts_when_one_goes() -> None:
    foreign = ForeignContainers()
    old, new = task("b1", "10.99.0.2", "10.0.1.4"), task("b1", "10.99.0.2", "10.0.1.5")
    for both in ((old, new), (new, old)):
        tell(foreign, *both)
        assert foreign.endpoints("10.99.0.2//b1") == {OVERLAY: new.endpoint}
    tell(foreign, old)
    assert foreign.endpoints("10.99.0.2//b1") == {OVERLAY: old.endpoint}


def test_on_a_network_that_the_engine_answers_for_a_record_does_not_count() -> None:
    foreign = ForeignContainers()
    foreign.apply_host(Host("b", ("10.99.0.2",)))
    foreign.apply_all([stored("b", "db", "10.0.1.4"), stored("b", "old", "10.0.1.7")])

    changed = tell(foreign, task("db", "10.99.0.2", "10.0.1.9"))

    assert changed == {"b//db", "b//old"}
    assert foreign.endpoints("b//db") == {OVERLAY: Endpoint("10.0.1.9", None)}
    assert foreign.endpoints("b//old") == {}
    assert foreign.containers["b//db"].service == ("shop", "db"), "the record has more to say"
    assert foreign.forget_network(OVERLAY) == {"b//db", "b//old"}
    assert foreign.endpoints("b//db") == {OVERLAY: Endpoint("10.0.1.4", None)}


def test_an_address_of_a_bridge_holds_only_where_both_hosts_say_that_it_is_routed() -> None:
    foreign = ForeignContainers()
    foreign.meet(Host("a", routed=("10.28.0.0/16", "lan")))
    foreign.apply_all([stored("b", "db", "172.17.0.2", BRIDGE)])
    assert foreign.holders("172.17.0.2") == set()

    foreign.apply_host(Host("b", routed=("10.28.0.0/16",)))
    assert foreign.holders("172.17.0.2") == set()

    foreign.apply_host(Host("b", routed=("lan",)))
    assert foreign.holders("172.17.0.2") == {"b//db"}

    assert foreign.meet(Host("a")) == {"b//db", HEARD}
    assert foreign.holders("172.17.0.2") == set()


def test_what_is_waited_for_is_waited_for_until_it_tells_or_is_given_up() -> None:
    foreign = ForeignContainers()
    foreign.unheard |= {STORE, OVERLAY}

    assert foreign.apply_all([]) == {HEARD}
    assert foreign.unheard == {OVERLAY}
    assert foreign.heard(OVERLAY) == {HEARD}
    assert foreign.heard(OVERLAY) == set()
