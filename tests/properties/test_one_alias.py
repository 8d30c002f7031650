"""What is worked out for one alias alone is what the whole file's work says of it."""

from hypothesis import given
from hypothesis import strategies as st

from reconciler.hosts.block import apply
from reconciler.hosts.live import compare, judge
from reconciler.hosts.plan import plan
from reconciler.links.declare import ConfigLink
from reconciler.links.desired import desired
from reconciler.links.graph import LinkGraph
from reconciler.links.sources import owner_of
from reconciler.views.explain import ask, look
from tests.builders import patient
from tests.machine import HOSTS
from tests.properties.steps import Step, change, steps, tables, worlds
from watchers.mirror import Mirror

OTHERS = [b"", b"10.9.9.9 db\n", b"10.0.0.2\tdb cafe x\n10.0.0.3\tx cafe db\n"]
"""Lines that are not relinkd's; the last two are as an engine's."""


@patient(max_examples=200)
@given(
    st.builds(list.__add__, worlds(), st.lists(steps, max_size=3)),
    tables,
    st.sampled_from(OTHERS),
    st.booleans(),
)
def test_of_each_alias(
    before: list[Step],
    config: list[ConfigLink],
    others: bytes,
    delivered: bool,
) -> None:
    mirror, graph = Mirror(), LinkGraph(links=config)
    for kind, what in before:
        graph.update(change(mirror, kind, what), mirror)
    for container in mirror.containers.values():
        owner = owner_of(container, mirror)
        if owner is None:
            assert ask(container, "db", graph, mirror) is None
            continue
        whole = desired(owner, graph, mirror)
        data = HOSTS + others
        if delivered:
            data = apply(data, plan(data, whole.lines, whole.engine_lines).edits)
        file = compare(whole, data)
        for alias in ("db", "D", "nothing"):
            asked = ask(container, alias, graph, mirror)
            assert asked is not None
            looked = look(asked, data)
            judged, wanted = (
                [judge(link, of) for link in want.links if link.declaration.alias.lower() == name]
                for name in [alias.lower()]
                for want, of in ((asked.want, looked.file), (whole, file))
            )
            assert judged == wanted
            assert asked.want.engine_lines == whole.engine_lines
            of_alias = [line for line in whole.lines if line.names[0].lower() == alias.lower()]
            assert set(of_alias) <= set(asked.want.lines)
            assert bool(asked.declared) == (not wanted and bool(whole.links))
