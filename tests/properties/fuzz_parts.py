"""Bytes, texts and values that nobody should send."""

import os
from functools import cache

from hypothesis import settings
from hypothesis import strategies as st

from tests.builders import patient
from tests.fuzz.hosts_file import BEGIN, END
from tests.fuzz.said import SOME
from tests.fuzz.targets import seeds

REPEATS = float(os.environ.get("RELINKD_REPEATS", "1"))


def often(times: int) -> settings:
    return patient(max_examples=max(1, int(times * REPEATS)))


WORDS = {
    "answers": [
        b"null",
        b"{}",
        b"[]",
        b'"\\ud800"',
        b"1e400",
        b"-0",
        b'"Id":1',
        b'"Links":["/a:b"]',
    ],
    "events": [b"\n", b"\r\n", b'{"message":"x"}\n', b'"Type":"container"', b"\0", b"[" * 300],
    "hosts_file": [
        *(
            BEGIN + b"\n",
            END + b"\n",
            BEGIN + b"\r\n",
            b"# eol 3\n",
            b"- relinkd begin\n",
            b"1 relinkd end\n",
            b"# spare",
            b"\t",
            b"#",
            b"\n",
        ),
        *(b"172.17.0.2      db\n", b"#72.17.0.2      db\n", b"1.1.1.1 db\n", b"\0", b"\xff"),
        *(b"172.17.0.3\tdata 32e6de555e89 src\n", b"#72.17.0.3\tgone h\n", b"::1\tlocalhost\n"),
        *(b"fd00::2".ljust(40) + b"db\n", b" " * 600, b"x" * 510),
    ],
    "labels": [
        *(b"links=", b"\0on-change=", b"\0env-file=/", b"\0host-names=", b"\0private=", b"\0x="),
        *(
            b"\0relinkd.=",
            b":",
            b"@",
            b"/",
            b",",
            b"..",
            b"'",
            b"exec:",
            b"signal:",
            b"\xe2\x80\xae",
        ),
        *(b"a:b@c ", b"abcdefabcdef", b"localhost", b"all", b"\x1b[31m", b"\xc2\x9b", b"-"),
    ],
    "references": [
        b"db",
        b"/db",
        b"shop/db",
        SOME[:12].encode(),
        SOME.encode(),
        b"\0",
        b"\x1b",
        b"/",
    ],
    "globs": [b"*", b"?", b"[a-z]", b"[!", b"]", b"[z-a]", b"/", b"\0", b"web", b"(", b"\\", b"+"],
    "config": [
        *(
            b"[[link]]\n",
            b"recipient = ",
            b'"web-*"\n',
            b"source = ",
            b'"db"\n',
            b"resync = ",
            b"60\n",
        ),
        *(b"nan", b"inf", b"-1", b"9" * 400, b"[" * 300, b'"""', b"\xff", b"\r", b"allow = ["),
    ],
    "settings": [
        b"60",
        b"s",
        b"m",
        b"nan",
        b"inf",
        b"-",
        b".",
        b",",
        b"10.0.0.0/8",
        b"exec",
        b"9" * 30,
    ],
}


@cache
def sound(target: str) -> list[bytes]:
    return [*seeds(target)]


@st.composite
def spoilt(draw: st.DrawFn, target: str) -> bytes:
    """Arbitrary bytes, words that mean something, or what is sound with some of it changed."""
    word = st.sampled_from(WORDS[target]) | st.binary(max_size=8)
    if draw(st.booleans()):
        return b"".join(draw(st.lists(word, max_size=14)))
    data = draw(st.sampled_from(sound(target)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.sampled_from([0, 0, 1, 2, 7, 40])))
        data = data[:at] + draw(word) + data[until:]
    return data


NAMES = ["Id", "Name", "Names", "Labels", "Links", "Networks", "Containers", "Mounts", "State"]
texts = st.text(max_size=8) | st.sampled_from(
    ["db", "/db", "\x1b[31m", "\u202e", "10.0.0.1/8", "fe80::1%x", "container:db", SOME, "\0"]
)
floats = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | st.integers() | floats | texts
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | texts, inner, max_size=4)
    ),
    max_leaves=12,
)
