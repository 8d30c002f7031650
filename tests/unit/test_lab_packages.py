import pytest

from tests.lab.packages import Source, parse_sources

ONE_LINE = """\
# deb http://old.invalid/debian bookworm main
deb http://mirror.invalid/debian bookworm main contrib
deb-src http://mirror.invalid/debian bookworm main
deb [arch=amd64 signed-by=/keys/other.gpg] http://other.invalid/apt stable main
deb http://partial.invalid/debian bookworm contrib
"""

DEB822 = """\
Types: deb deb-src
# http://snapshot.invalid
URIs: http://mirror.invalid/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /keys/debian.gpg

Enabled: no
Types: deb
URIs: http://off.invalid/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://sources.invalid/debian
Suites: bookworm
Components: main
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param(
            ONE_LINE,
            [
                (Source("http://mirror.invalid/debian"), frozenset({"bookworm"})),
                (Source("http://other.invalid/apt", "/keys/other.gpg"), frozenset({"stable"})),
            ],
            id="one line each",
        ),
        pytest.param(
            DEB822,
            [
                (
                    Source("http://mirror.invalid/debian", "/keys/debian.gpg"),
                    frozenset({"bookworm", "bookworm-updates"}),
                )
            ],
            id="deb822",
        ),
        pytest.param("", [], id="empty"),
    ],
)
def test_binary_sources_with_main(text: str, found: list[tuple[Source, frozenset[str]]]) -> None:
    assert list(parse_sources(text)) == found


def test_another_release_is_asked_for_at_the_same_place_with_the_same_key() -> None:
    stanza = Source("http://mirror.invalid/debian", "/keys/debian.gpg").stanza("sid")

    [(source, releases)] = parse_sources(stanza)
    assert source == Source("http://mirror.invalid/debian", "/keys/debian.gpg")
    assert releases == {"sid"}
