"""What stands in a store, as far as it is wanted here: hosts and their containers."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from watchers import record
from watchers.etcd.wire import KeyValue
from watchers.model import Foreign, Host, foreign_id
from watchers.record import BadRecordError

MOST = 100_000
"""Most records of containers that count."""
_MOST_BAD = 1000
"""Most bad records that are said, each once."""


class Touched(NamedTuple):
    """What a key is about: a container, or a host itself."""

    host: str
    container: str | None


class Records:
    """Hosts by name, and the records of their containers.

    A container's record counts only while its host's own key is there. Each container has a record
    under each of its keys; the newest counts.
    """

    def __init__(self, prefix: str, bad: Callable[[str, str], None]) -> None:
        self.hosts: dict[str, Host] = {}
        self._prefix = prefix
        self._say_bad = bad
        self._bad: dict[bytes, str] = {}
        self._of_host: defaultdict[str, dict[str, dict[bytes, tuple[int, Foreign]]]]
        self._of_host = defaultdict(dict)
        """Host -> container -> key -> the key's revision, and its record."""
        self._count = 0

    def replace(self, kvs: Iterable[KeyValue]) -> None:
        """Take these keys in place of all others."""
        self.clear()
        for each in kvs:
            self.change(each, gone=False)

    def clear(self) -> None:
        """Forget all keys."""
        self.hosts.clear()
        self._of_host.clear()
        self._count = 0

    def change(self, kv: KeyValue, *, gone: bool) -> Touched | None:
        """Take one key, or that it is gone; return what it is about, None if it is nothing."""
        try:
            touched = self._put(kv, gone=gone)
        except (BadRecordError, UnicodeDecodeError) as error:
            self._bad_key(kv.key, str(error))
            return None
        if gone:
            self._bad.pop(kv.key, None)
        return touched

    def _put(self, kv: KeyValue, *, gone: bool) -> Touched:
        text = kv.key.decode()
        if text.startswith(record.hosts(self._prefix)):
            name = record.host_of(self._prefix, text)
            self.hosts.pop(name, None)
            if not gone:
                self._read(kv, lambda: self._put_host(name, kv.value))
            return Touched(name, None)
        key = record.container_of(self._prefix, text)
        id_ = foreign_id(key.host, key.name)
        known = self._of_host[key.host].setdefault(id_, {})
        self._count -= known.pop(kv.key, None) is not None
        if not gone and self._count < MOST:
            self._read(kv, lambda: self._put_container(known, key, kv))
        if not known:
            del self._of_host[key.host][id_]
        return Touched(key.host, id_)

    def _read(self, kv: KeyValue, put: Callable[[], None]) -> None:
        """Put a value; a bad one is as none, and is said."""
        try:
            put()
        except BadRecordError as error:
            self._bad_key(kv.key, str(error))
        else:
            self._bad.pop(kv.key, None)

    def _put_host(self, name: str, value: bytes) -> None:
        self.hosts[name] = record.read_host(name, value)[1]

    def _put_container(
        self, known: dict[bytes, tuple[int, Foreign]], key: record.ContainerKey, kv: KeyValue
    ) -> None:
        known[kv.key] = kv.mod_revision, record.read_container(key, kv.value)
        self._count += 1

    def _bad_key(self, key: bytes, problem: str) -> None:
        if self._bad.get(key) != problem and len(self._bad) < _MOST_BAD:
            self._bad[key] = problem
            self._say_bad(key.decode(errors="replace"), problem)

    # -- reading ---------------------------------------------------------------------------------

    def get(self, host: str, container: str) -> Foreign | None:
        """Return a container's record; None without one, or if its host is not there."""
        found = self._of_host.get(host, {}).get(container)
        if not found or host not in self.hosts:
            return None
        return max(found.values(), key=lambda each: each[0])[1]

    def of(self, host: str) -> list[Foreign]:
        """Return the records of a host's containers."""
        found = (self.get(host, id_) for id_ in self._of_host.get(host, ()))
        return [each for each in found if each is not None]

    def alive(self, own: str) -> list[Foreign]:
        """Return the records of all containers of all other hosts."""
        return [each for host in self.hosts if host != own for each in self.of(host)]
