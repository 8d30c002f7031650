"""What relinkd is told, changed at each step of short histories, and the promises over it."""

from __future__ import annotations

from reconciler.hosts.leased_write import ignore_sigio
from tests.history.stories import STORIES
from tests.history.view import Seen, perturb
from tests.prove.trial import FAKE, Figures, Ground, trial


@trial("A view that lies", short=1, full=len(STORIES), unit="short histories", engines=(FAKE,))
def history(ground: Ground, count: int) -> Figures:
    """A source falls ill; a source restarts while another container takes its address; Compose
    recreates a source beside a stranger of the same name; the engine and all containers crash; a
    recipient leaves the network of its link. Each history is played once for each event and answer
    that relinkd is told in it, and each thing that can become of that one: an older answer in its
    place, one and a half seconds of delay, no event, an error 500, or the end of relinkd and the
    beginning of another. Engine and relinkd share one loop, in which time passes only when nothing
    is left to do, so the order of everything is certain. A checker that knows nothing of how
    relinkd works reads what was told, what was true and every content of every file. Promised: no
    address comes before its cause or stands at another container; none goes without a cause; a name
    that the engine's DNS would answer is held; one block; no byte of others changes; no news twice;
    in the end every file is right.
    """
    ignore_sigio()
    seen = Seen()
    for name, story in [*STORIES.items()][:count]:
        perturb(story, ground.folder / "history" / name, seen)
    figures = Figures(
        {
            "steps: events and answers": seen.steps,
            "older answers": seen.told["older"],
            "delays": seen.told["late"],
            "hidden events": seen.told["hidden"],
            "failed answers": seen.told["failed"],
            "ends of relinkd": seen.told["killed"],
            "lines that the checker read": seen.lines,
            "violations": len(seen.broken),
        }
    )
    assert not seen.broken, figures
    return figures
