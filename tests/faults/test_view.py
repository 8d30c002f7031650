"""At each step of short histories relinkd is lied to, or ended: no promise breaks by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.hosts.leased_write import ignore_sigio
from tests.history.stories import STORIES
from tests.history.view import Seen, perturb


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", STORIES)
def test_a_lie_at_each_step(name: str, tmp_path: Path) -> None:
    ignore_sigio()  # which the main thread alone may do
    seen = Seen()
    perturb(STORIES[name], tmp_path / name, seen)
    print(f"{name}: {seen}")
    assert seen.broken == []
