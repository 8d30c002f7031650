"""What relinkd relies upon of the API itself."""

from __future__ import annotations

import json

import pytest

from tests.contract.acts import API
from tests.contract.conftest import Stage
from tests.lab.client import ApiError


def test_ping_tells_the_version_to_speak(engine: Stage) -> None:
    version = engine.client.version()
    assert (version["ApiVersion"], version["MinAPIVersion"]) == API[engine.generation]


def test_versions_out_of_range_are_refused(engine: Stage) -> None:
    status, body = engine.client.raw("GET", "/v1.99/containers/json")
    assert status == 400
    newest, oldest = API[engine.generation]
    assert json.loads(body)["message"] == (
        f"client version 1.99 is too new. Maximum supported API version is {newest}"
    )
    status, body = engine.client.raw("GET", "/v1.5/containers/json")
    assert status == 400
    # A client this old is answered in text, but by 26.
    told = json.loads(body)["message"] if engine.generation == 26 else body.decode().strip()
    assert told == (
        f"client version 1.5 is too old. Minimum supported API version is {oldest}, "
        "please upgrade your client to a newer version"
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/containers/nobody/json", "No such container: nobody"),
        ("/networks/nowhere", "network nowhere not found"),
    ],
)
def test_what_is_not_there(engine: Stage, path: str, message: str) -> None:
    status, body = engine.client.raw("GET", path)
    assert (status, json.loads(body)) == (404, {"message": message})


def test_a_taken_name_is_a_conflict(engine: Stage) -> None:
    first = engine.create("db")
    with pytest.raises(ApiError) as refused:
        engine.create("db")
    assert refused.value.status == 409
    assert first in refused.value.message


def test_nothing_to_do_is_304(engine: Stage) -> None:
    db = engine.run("db")
    assert engine.client.raw("POST", f"/containers/{db}/start")[0] == 304
    engine.client.stop(db)
    assert engine.client.raw("POST", f"/containers/{db}/stop")[0] == 304


def test_containers_are_found_by_name_id_and_prefix(engine: Stage) -> None:
    db = engine.create("db")
    for known in (engine.name("db"), db, db[:12]):
        assert engine.client.inspect(known)["Id"] == db
