"""Decides which answers count: one counter numbers every event and every question.

An answer counts from the time of its question. A grant is void if its question came before a
withdrawal, and an older answer never overwrites a newer one.
"""

from collections import defaultdict
from collections.abc import Set as AbstractSet


class Revisions:
    """Numbers of events and answers, by container and network."""

    def __init__(self) -> None:
        self.now = 0
        self.left: defaultdict[str, dict[str, int]] = defaultdict(dict)
        """Network -> container -> the revision of the container's last `disconnect`."""
        self.died: dict[str, int] = {}
        """Container -> the revision of its last `die` or `destroy`."""
        self.heard: dict[str, int] = {}
        """Container -> the revision of the last event about it."""
        self.inspected: dict[str, int] = {}
        """Container -> the revision of the newest applied inspect."""
        self._answered: dict[str, int] = {}
        self._listed = 0
        self._networks_listed: tuple[int, AbstractSet[str]] = 0, frozenset()

    def next(self) -> int:
        """Return the revision of an event or question that begins now."""
        self.now += 1
        return self.now

    def is_fresh(self, container: str, revision: int) -> bool:
        """Whether no event about the container came after the question."""
        return revision >= max(self.heard.get(container, 0), self._listed)

    def is_newest_list(self, revision: int) -> bool:
        """Whether no newer list has been applied."""
        return revision > self._listed

    def accepts_network(self, network: str, revision: int) -> bool:
        """Whether an answer about a network counts; if so, record it as the newest."""
        if not self.is_newest_network(network, revision):
            return False
        self._answered[network] = revision
        return True

    def is_newest_network(self, network: str, revision: int) -> bool:
        """Whether nothing newer than an answer of `revision` is known of a network."""
        listed, ids = self._networks_listed
        # A newer list lacks the network: it is gone, and its `destroy` was lost.
        unlisted = revision < listed and network not in ids
        return revision > self._answered.get(network, 0) and not unlisted

    def list_networks(self, ids: AbstractSet[str], revision: int) -> None:
        """Record the networks that existed when the list was asked for."""
        if revision > self._networks_listed[0]:
            self._networks_listed = revision, ids

    def is_granted(self, network: str, container: str, revision: int) -> bool:
        """Whether an answer of `revision` may give a container an address on a network."""
        withdrawn = max(self.left.get(network, {}).get(container, 0), self.died.get(container, 0))
        return withdrawn <= revision

    def forget_left(self, network: str, revision: int) -> None:
        """Drop the withdrawals that came before an answer of `revision`."""
        left = self.left.pop(network, {})
        if later := {id_: stamp for id_, stamp in left.items() if stamp > revision}:
            self.left[network] = later

    def list_containers(self, revision: int, networks: AbstractSet[str]) -> None:
        """Drop the records that only matter for questions older than the previous list."""
        for stamps in (self.died, self.heard, *self.left.values()):
            for container in [id_ for id_, stamp in stamps.items() if stamp < self._listed]:
                del stamps[container]
        for network in [id_ for id_, left in self.left.items() if not left]:
            del self.left[network]
        for network in self._answered.keys() - networks:
            if self._answered[network] < self._listed:
                del self._answered[network]
        self._listed = revision
