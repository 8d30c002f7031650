"""The problems of declarations, for `check` and `status`."""

from collections.abc import Iterator

from reconciler.cli.snapshot import Snapshot
from reconciler.links.options import label_problems
from reconciler.settings import Settings
from reconciler.views.report import fights, gathered, rows
from reconciler.wiring import allowed

_TROUBLE = ("refused", "failed", "unreachable", "shadowed")


def declarations(snapshot: Snapshot, settings: Settings) -> Iterator[str]:
    """Yield the problems of labels and links, and their fix."""
    for container in sorted(snapshot.mirror.containers.values(), key=lambda each: each.name):
        for problem in label_problems(container, settings.allow):
            yield f"{container.name}: {problem}"
    for feature in allowed(settings):
        yield from feature.problems(snapshot.seen(settings))
    for owner, want in snapshot.wanted():
        found = rows(want, snapshot.read(owner.id), snapshot.mirror)
        troubles = [
            row
            for link, row in zip(want.links, found, strict=True)
            # An alias that another declaration has is a problem only if the two fight.
            if row.state in _TROUBLE and link.state != "shadowed"
        ]
        for row in gathered(troubles):
            yield f"{row.recipient}: {row.aliases or row.source} is {row.state}: {row.reason}"
        for fight in fights(want, snapshot.mirror):
            yield f"{owner.name}: {fight}"
