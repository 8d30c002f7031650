"""Several hosts: every story of tests/fleet, told in turn, and checked by its record."""

from __future__ import annotations

from itertools import cycle, islice

from tests.fleet.stories import BY_RECORD, STORIES, tell
from tests.lab.hosts import has_vxlan, hosts
from tests.prove.trial import Figures, Ground, trial

SAID = {
    "wrong": "at an address that is not its source's",
    "another's": "at another container's address",
    "unheard": "at an address of a host that is out of reach",
    "absent": "nowhere, while its source is up and reached",
}
TOLD = [("etcd", name) for name in (*STORIES, *BY_RECORD)]
if has_vxlan():
    TOLD += [("swarm", name) for name in STORIES]


@trial("Several hosts", short=1, full=len(TOLD), unit="stories", engines=("28",))
def several_hosts(ground: Ground, count: int) -> Figures:
    """Three hosts, an engine and a relinkd on each, follow each other by an etcd of three members,
    or by the tables of a Swarm. Sources move, restart, stop and die; another container takes the
    address of one; hosts are cut off, lose power and come back with other containers; relinkd is
    killed and replaced; two hundred containers restart at once. A third process samples the
    recipients' hosts files two hundred times a second, and a checker compares them with what the
    engines say was true. Promised: no alias is at an address that is not its source's for longer
    than the bound, nor at another container's for more than two seconds while every host is
    reached; none loses an address that stands; in the end every file is right.
    """
    worst: dict[str, float] = {}
    with hosts(ground.key, 3, swarm=True, routed=True, etcd=True) as lab:
        for number, (how, name) in enumerate(islice(cycle(TOLD), count)):
            folder = ground.folder / str(number)  # short: a socket's path has 107 bytes at most
            folder.mkdir()
            for kind, seconds in tell(lab, how, name, folder).longest.items():
                said = f"longest {SAID[kind]}, by {how}, s"
                worst[said] = max(worst.get(said, 0.0), seconds)
    return {"hosts": 3, **{said: round(seconds, 2) for said, seconds in sorted(worst.items())}}
