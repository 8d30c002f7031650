"""One look, as the commands take it, at an engine that fails."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.fakes.faulty import Exchange, faulty
from tests.faults.questions_parts import BAD, ENDPOINTS
from tests.faults.watched import Watched
from watchers.engine import open_engine
from watchers.errors import EngineError, EngineFailedError
from watchers.mirror import Mirror
from watchers.observer import look_once


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_one_look_for_the_commands(endpoint: str, tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine, open_engine(engine.address) as found:
        engine.box("db", "10.0.0.2")
        watched = Watched()
        await look_once(found, watched.mirror, watched)
        assert watched.seen() == engine.truth()
        assert watched.words == ["connected", "synced"]
        engine.script(ENDPOINTS[endpoint], BAD["500"])
        once = partial(look_once, found, Mirror())
        if endpoint in ("list", "networks"):
            with pytest.raises(EngineFailedError, match="500"):
                await once()
        else:
            assert await once()  # the look ends, and says why what is missing is missing


async def test_one_look_at_an_engine_that_goes_meanwhile(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine, open_engine(engine.address) as found:
        engine.box("db", "10.0.0.2")

        async def gone(_: Exchange) -> None:
            engine.go_away()

        engine.script("/networks", gone)
        with pytest.raises(EngineError):
            await look_once(found, Mirror())
