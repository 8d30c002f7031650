"""The typed and the tolerant way to read an answer: the same result where both can."""

import json
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import patient
from watchers import wire

FIXTURES = Path(__file__).parents[1] / "fixtures"
DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "list": wire.LIST,
    "inspect": wire.INSPECTED,
    "offer": wire.OFFER,
    "ports": wire.PORTS,
    "networks": wire.NETWORKS,
    "network": wire.NETWORK,
    "event": wire.EVENT,
    "version": wire.VERSION,
    "error": wire.FAILURE,
}
READERS = {
    "list": ["list", "networks"],
    "inspect": ["inspect", "offer", "ports"],
    "network": ["network"],
    "events": ["event"],
    "version": ["version"],
    "error": ["error"],
    "libpod": [],  # Podman's own API, which relinkd does not ask
}
RECORDED = [
    pytest.param(reader, file, id=f"{file.parent.name.replace('.', '-')}-{file.stem}-{reader}")
    for file in sorted(FIXTURES.glob("*/*.json*"))
    for reader in READERS[file.stem.partition("-")[0]]
]

scalars = {
    str: st.text(max_size=8),
    int: st.integers(-(2**63), 2**63 - 1),
    bool: st.booleans(),
    object: st.none() | st.integers(0, 9) | st.dictionaries(st.text(max_size=2), st.none()),
}
unread = st.dictionaries(st.sampled_from(["SizeRw", "Platform", "New"]), scalars[object])


def answers(kind: Any) -> st.SearchStrategy[Any]:
    """Whatever is well-formed for a type: fields may be missing, and there may be other ones."""
    parts = get_args(kind)
    if kind in scalars:
        return scalars[kind]
    if NoneType in parts:
        return st.none() | answers(parts[0])
    if get_origin(kind) is list:
        return st.lists(answers(parts[0]), max_size=3)
    if get_origin(kind) is dict:
        return st.dictionaries(st.text(max_size=8), answers(parts[1]), max_size=3)
    fields = {each.encode_name: answers(each.type) for each in msgspec.structs.fields(kind)}
    known = st.fixed_dictionaries({}, optional=fields)
    return st.builds(lambda one, other: other | one, known, unread)


def both(decoder: msgspec.json.Decoder[Any], body: bytes) -> tuple[Any, Any]:
    return decoder.decode(body), wire._fit(msgspec.json.decode(body), decoder.type)


@pytest.mark.parametrize(("reader", "file"), RECORDED)
def test_recorded_answers_are_read_the_same_in_both_ways(reader: str, file: Path) -> None:
    body = file.read_bytes()
    for answer in [body] if file.suffix == ".json" else body.splitlines():
        typed, tolerant = both(DECODERS[reader], answer)
        assert typed == tolerant


@pytest.mark.parametrize("reader", DECODERS)
def test_well_formed_answers_are_read_the_same_in_both_ways(reader: str) -> None:
    decoder = DECODERS[reader]

    @patient()
    @given(answers(decoder.type))
    def agree(value: Any) -> None:
        typed, tolerant = both(decoder, json.dumps(value).encode())
        assert typed == tolerant

    agree()


def test_what_is_of_another_type_costs_itself_alone() -> None:
    items = [
        {
            "Id": "a",
            "State": 7,
            "Labels": {"x": "y", "z": None},
            "Mounts": [None, {"Type": "bind"}],
        },
        {"Id": "b", "Created": 1.5, "HostConfig": [], "NetworkSettings": {"Networks": {"n": 1}}},
        "c",
        {"Id": "d", "Created": True, "Names": ["/d", 4]},
    ]
    assert wire.decode(json.dumps(items).encode(), wire.LIST) == [
        wire.ListedContainer(Id="a", Labels={"x": "y"}, Mounts=[wire.Mount(Type="bind")]),
        wire.ListedContainer(Id="b", NetworkSettings=wire.ListedNetworks(Networks={})),
        wire.ListedContainer(Id="d", Names=["/d"]),
    ]


def test_a_field_of_another_name_in_json_is_found_by_that_name() -> None:
    line = b'{"Type":"container","Action":7,"timeNano":5}'
    assert wire.decode(line, wire.EVENT) == wire.EventLine(Type="container", time_nano=5)


@pytest.mark.parametrize("body", [b"null", b"true", b"42", b'"OK"', b"{}"])
def test_another_kind_of_body_is_no_list(body: bytes) -> None:
    assert wire.decode(body, wire.LIST) is None


MALFORMED = [
    b"",
    b"<html>",
    b"[][]",
    b'[{"Id":"x"},',
    b'[{"Id":"\xff\xfe"}]',
    b'[{"Id":"\\ud800"}]',
    b"[1e999]",
    b"[" * 100_000,
    b'[{"Id":' + b"[" * 100_000,
    b'[{"Unread":' + b"[" * 100_000,
]


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: body[:12].decode("latin-1"))
def test_what_is_no_json_is_one_error(body: bytes) -> None:
    with pytest.raises(wire.MalformedError) as caught:
        wire.decode(body, wire.LIST)
    assert str(caught.value)
