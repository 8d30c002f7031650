"""What befalls hosts and sources, each story with recipients on every host.

A story says what happens and what the files come to in the end. That nothing was wrong on the way,
and for how long, is the record's to show (tests/history/across.py).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.engine.stack import until
from tests.fleet.crew import Post, crew
from tests.history.record import HELD
from tests.history.recording import Recording, recording
from tests.lab.hosts import ROUTED, Hosts

LEASE = 10.0
"""Seconds, relinkd's default: so long a host may be unheard of in the store."""
BOUND = {"etcd": LEASE + 1.0, "swarm": 20.0}
"""Seconds within which every link follows. Swarm itself needs 7 s to miss a host."""
BACK = {"etcd": BOUND["etcd"], "swarm": 60.0}
"""Seconds within which an alias is there again. Engines of a Swarm that missed each other's gossip
exchange all they know every half minute."""
OVERLAY = "ov"


@dataclass
class Play:
    """Three hosts with a relinkd each, and a recipient on each that declares a link to `db`."""

    posts: Sequence[Post]
    how: str
    network: str
    folder: Path
    webs: dict[str, str] = field(default_factory=dict)
    """The recipients, by the name of their host."""
    record: Recording = field(init=False)

    @property
    def lab(self) -> Hosts:
        """The hosts."""
        return self.posts[0].lab

    def recipients(self, links: str) -> None:
        """Start a recipient on each host."""
        for post in self.posts:
            self.webs[post.host.name] = post.declare("web", links, self.network)

    def source(self, post: Post, name: str = "db", ip: str | None = None) -> str:
        """Start a source; return its ID."""
        return post.client.run(name, network=self.network, ip=ip)

    def at(self, post: Post, container: str) -> str:
        """Return where a container is."""
        return post.address(container, self.network)

    def shown(self, post: Post, alias: str = "db") -> list[str]:
        """Return where the recipient of a host finds an alias; nothing where it is held."""
        found = post.lookup(self.webs[post.host.name], alias)
        return [address for address in found if address not in HELD]

    def await_all(self, *addresses: str, on: Sequence[Post] = (), alias: str = "db") -> None:
        """Wait until recipients find an alias at just these addresses: on some hosts, or on all."""
        wanted = [*addresses]
        for post in on or self.posts:

            def shown(post: Post = post) -> bool:
                return self.shown(post, alias) == wanted

            until(shown, f"{alias} at {wanted} on {post.host.name}")

    def others(self, post: Post) -> list[Post]:
        """Return the other hosts."""
        return [each for each in self.posts if each is not post]

    @contextmanager
    def recorded(self, *strangers: Post) -> Iterator[None]:
        """Record what happens in the block, and check it; no recipient means a stranger's."""
        files = {
            self.webs[post.host.name]: post.hosts_path(self.webs[post.host.name])
            for post in self.posts
            if post not in strangers
        }
        made = recording(
            {post.host.name: post.host.client for post in self.posts},
            [self.network],
            files,
            self.folder,
            bound=BOUND[self.how],
            back=BACK[self.how],
            strangers=[post.host.name for post in strangers],
        )
        with made as self.record:
            yield

    def lead(self, post: Post) -> None:
        """Have the store's leader on a host, so that it is lost with the host."""
        if self.how == "etcd":
            assert self.lab.etcd is not None
            self.lab.etcd.lead(self.posts.index(post))

    def leases(self) -> set[str]:
        """Return the leases that the store has."""
        assert self.lab.etcd is not None
        answer = self.lab.etcd.members[0].ask("/v3/lease/leases", {})
        return {each["ID"] for each in answer.get("leases", ())}


@contextmanager
def play(
    lab: Hosts, how: str, folder: Path, own: Mapping[str, str] | None = None
) -> Iterator[Play]:
    """Have a relinkd on each host that follows the others by `etcd` or by `swarm`.

    Args:
        lab: The hosts.
        how: By what.
        folder: For their logs, and the record.
        own: An option that a host has beside the others, by its name.
    """
    options = []
    if how == "etcd":
        assert lab.etcd is not None
        options = [f"--fleet={lab.etcd.url}", f"--routed={ROUTED}"]
    else:
        lab.overlay(OVERLAY, "--subnet=10.77.0.0/16")
    with crew(lab, folder, *options, own=own) as posts:
        yield Play(posts, how, ROUTED if options else OVERLAY, folder)


Story = Callable[[Play], None]
STORIES: dict[str, Story] = {}


def story(function: Story) -> Story:
    """Have a story told."""
    STORIES[function.__name__.replace("_", "-")] = function
    return function


@story
def source_moves(play: Play) -> None:
    """A source is removed on one host and started on another, and back."""
    a, _, c = play.posts
    play.recipients("//db")
    with play.recorded():
        for post in (a, c, a):
            db = play.source(post)
            play.await_all(play.at(post, db))
            post.client.remove(db)
            play.await_all()


@story
def source_restarts(play: Play) -> None:
    """A source restarts, is stopped and started, and is killed and started."""
    a, *_ = play.posts
    play.recipients("//db")
    with play.recorded():
        db = play.source(a)
        play.await_all(play.at(a, db))
        a.client.restart(db)
        play.await_all(play.at(a, db))
        for end in (a.client.stop, a.client.kill):
            end(db)
            play.await_all()
            a.client.start(db)
            play.await_all(play.at(a, db))


@story
def another_takes_the_address(play: Play) -> None:
    """A source stops, and another container starts at its address before it comes back."""
    a, *_ = play.posts
    play.recipients("//db")
    with play.recorded():
        db = play.source(a)
        at = play.at(a, db)
        play.await_all(at)
        a.client.stop(db)
        play.source(a, "other", at)
        play.await_all()
        a.client.start(db)
        play.await_all(play.at(a, db))


@story
def source_host_is_cut_off(play: Play) -> None:
    """A source's host is cut off; meanwhile another takes its address there; the host is back."""
    a, *_ = play.posts
    play.lead(a)
    play.recipients("//db")
    with play.recorded():
        db = play.source(a)
        at = play.at(a, db)
        play.await_all(at)
        play.record.cut(a.host)
        a.client.stop(db)
        play.await_all(on=[a])
        if play.how == "etcd":  # a manager that is cut off gives out no addresses of an overlay
            play.source(a, "other", at)
        play.await_all(on=play.others(a))
        play.record.join(a.host)
        play.lab.await_whole()
        a.client.start(db)
        play.await_all(play.at(a, db))


@story
def recipients_host_is_cut_off(play: Play) -> None:
    """A recipient's host is cut off, the source goes on elsewhere, and the host is back."""
    a, b, c = play.posts
    play.recipients("//db")
    with play.recorded():
        db = play.source(a)
        play.await_all(play.at(a, db))
        play.record.cut(b.host)
        a.client.remove(db)
        moved = play.source(c)
        play.await_all(play.at(c, moved), on=[a, c])
        play.await_all(on=[b])
        play.record.join(b.host)
        play.await_all(play.at(c, moved))


@story
def source_host_dies(play: Play) -> None:
    """A source's host loses power, and comes back with another at the source's old address."""
    a, *_ = play.posts
    play.lead(a)
    play.recipients("//db")
    with play.recorded():
        db = play.source(a)
        at = play.at(a, db)
        play.await_all(at)
        play.record.lose_power(a.host)
        a.relinkd.stop(signal.SIGKILL)  # it has died with its host
        play.record.power_up(a.host)
        play.lab.await_whole()
        play.source(a, "other", at)
        play.await_all(on=play.others(a))
        a.relinkd.start()
        a.client.start(play.webs[a.host.name])
        a.client.start(db)
        play.record.away(a.host.name, away=False)
        play.await_all(play.at(a, db))


@story
def next_source_takes_over(play: Play) -> None:
    """Two sources on two hosts for one alias: the second stands in while the first is not up."""
    a, b, c = play.posts
    play.recipients(f"{a.host.name}//db:db {c.host.name}//db:db")
    with play.recorded():
        second = play.source(c)
        play.await_all(play.at(c, second))
        first = play.source(a)
        play.await_all(play.at(a, first))
        a.client.stop(first)
        play.await_all(play.at(c, second))
        a.client.start(first)
        play.await_all(play.at(a, first))
        play.record.cut(a.host)
        play.await_all(play.at(c, second), on=[b, c])
        play.record.join(a.host)
        play.await_all(play.at(a, first))


@story
def restart_storm(play: Play) -> None:
    """Two hundred containers of one host restart, of which recipients elsewhere know some."""
    a, *_ = play.posts
    names = [f"db-{number}" for number in range(200)]
    known = names[::10]
    play.recipients(" ".join(f"//{name}" for name in known))
    with play.recorded():
        with ThreadPoolExecutor(8) as pool:
            ids = dict(zip(names, pool.map(partial(play.source, a), names), strict=True))
            list(pool.map(a.client.restart, ids.values()))

        def is_followed(name: str) -> bool:
            """Whether every host finds a container; start it first if the engine ended it."""
            if not a.client.inspect(ids[name])["State"]["Running"]:
                # 28.5 once ended a container 10 s after it restarted it, and again after a start.
                a.client.start(ids[name])
            wanted = [play.at(a, ids[name])]
            return all(play.shown(post, name) == wanted for post in play.posts)

        for name in known:
            until(partial(is_followed, name), f"{name} on all hosts")


BY_RECORD: dict[str, Story] = {}
"""Stories that only a store has."""


def by_record(function: Story) -> Story:
    """Have a story told where relinkd itself tells other hosts."""
    BY_RECORD[function.__name__.replace("_", "-")] = function
    return function


@by_record
def relinkd_is_replaced(play: Play) -> None:
    """The source's relinkd is killed and another started at once: nothing is withdrawn."""
    a, *_ = play.posts
    play.recipients("//db")
    db = play.source(a)
    play.await_all(play.at(a, db))
    with play.recorded():
        before = play.leases()
        a.relinkd.stop(signal.SIGKILL)
        a.relinkd.start()
        until(lambda: not before <= play.leases(), "the end of the first one's lease")


@by_record
def relinkd_is_gone(play: Play) -> None:
    """The source's relinkd is killed: others withdraw what it said, and believe the next one."""
    a, *_ = play.posts
    play.recipients("//db")
    with play.recorded():
        db = play.source(a)
        play.await_all(play.at(a, db))
        play.record.away(a.host.name)
        a.relinkd.stop(signal.SIGKILL)
        play.await_all(on=play.others(a))
        a.client.restart(db)
        a.relinkd.start()
        play.record.away(a.host.name, away=False)
        play.await_all(play.at(a, db))


def tell(lab: Hosts, how: str, name: str, folder: Path) -> Recording:
    """Play a story on the hosts, mend them, and return its record."""
    try:
        with play(lab, how, folder) as playing:
            {**STORIES, **BY_RECORD}[name](playing)
        return playing.record
    finally:
        lab.mend()
