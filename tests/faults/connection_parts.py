"""What an address leads to: an engine, or an error."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import anyio
import pytest

from tests.fakes.faulty import FaultyEngine
from tests.faults.watched import WATCHDOG
from watchers.engine import open_engine
from watchers.errors import EngineError


async def reached(address: str | None, *engines: FaultyEngine) -> FaultyEngine:
    """Return which of the engines is found; each is asked with its own answer."""
    for number, engine in enumerate(engines):
        engine.version = {"Version": str(number), "ApiVersion": "1.51"}
    with anyio.fail_after(WATCHDOG):
        async with open_engine(address) as found:
            return engines[int(found.version)]


async def refused(address: str | None) -> EngineError:
    """Return the error that says why there is no engine."""
    with anyio.fail_after(WATCHDOG), pytest.raises(EngineError) as caught:
        async with open_engine(address):
            pass
    return caught.value


def context(config: Path, name: str, host: str, **endpoint: object) -> Path:
    """Make a context as `docker context create` does; return where its certificates belong."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts" / "meta" / digest / "meta.json"
    meta.parent.mkdir(parents=True)
    described = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host} | endpoint}}
    meta.write_text(json.dumps(described))
    return config / "contexts" / "tls" / digest / "docker"


def current(config: Path, name: str) -> None:
    config.mkdir(parents=True, exist_ok=True)
    (config / "config.json").write_text(json.dumps({"auths": {}, "currentContext": name}))
