"""A mirror, and questions whose answers come when a test says so."""

from tests.builders import container, endpoint, id_of, listed, network
from watchers.mirror import Mirror
from watchers.model import Container, ContainerAnswer, Hint, ListAnswer, NetworkAnswer

DB, WEB = container("db", networks=["back"]), container("web", networks=["back"])
BACK, FRONT = network("back"), network("front")


class Asked:
    """A mirror, and questions whose answers come when the test says so."""

    def __init__(self, *known: Container) -> None:
        self.mirror = Mirror()
        for each in known:
            self.inspect(each)
        self.network("db web" if known else "")

    def hear(self, action: str, who: Container = DB, where: str = "", name: str = "") -> set[str]:
        network_id = id_of(where) if where else ""
        return self.mirror.apply_event(Hint(action, who.id, network_id, 7, name))

    def network(
        self, names: str, revision: int | None = None, address: str = "10.0.0."
    ) -> set[str]:
        """Have `back` answer with containers by name, numbered from 2."""
        members = {
            id_of(name): endpoint(f"{address}{number}")
            for number, name in enumerate(names.split(), 2)
        }
        number = self.mirror.next_revision() if revision is None else revision
        return self.mirror.apply_answer(NetworkAnswer(BACK.id, number, BACK, members))

    def inspect(self, whole: Container, revision: int | None = None) -> set[str]:
        number = self.mirror.next_revision() if revision is None else revision
        return self.mirror.apply_answer(ContainerAnswer(whole.id, number, whole))

    def gone(self, whole: Container, revision: int | None = None) -> set[str]:
        number = self.mirror.next_revision() if revision is None else revision
        return self.mirror.apply_answer(ContainerAnswer(whole.id, number, None))

    def list(self, *there: Container, revision: int | None = None) -> set[str]:
        number = self.mirror.next_revision() if revision is None else revision
        return self.mirror.apply_answer(ListAnswer(number, tuple(listed(each) for each in there)))

    def address(self) -> str | None:
        """Where `db` is on `back`."""
        found = self.mirror.endpoints(DB.id).get(BACK.id)
        other = self.mirror.members(BACK.id).get(DB.id)
        assert found == other
        return found.ipv4 if found else None

    @property
    def db(self) -> Container:
        return self.mirror.containers[DB.id]
