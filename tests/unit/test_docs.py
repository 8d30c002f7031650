"""What the pages name exists: tests, files, commands, flags, labels, pages and their headings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.commands import COMMANDS, cli
from tests.conftest import REAL

ROOT = Path(__file__).parents[2]
DOCS = sorted(ROOT.glob("docs/*.md"))
PAGES = [
    *DOCS,
    *(ROOT / name for name in ("CONTRIBUTING.md", "README.md", "SECURITY.md", "deploy/README.md")),
]
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"tests/[\w/]+\.py(?:::\w+)+")
FILE = re.compile(r"\b(?:tests|docs|deploy|reconciler|watchers)/[\w/.-]*\w")
COMMAND = re.compile(r"(?<![\w./-])relinkd +(-*[a-z][a-z-]*)([^\n`|)]*)")
FLAG = re.compile(r"(?<![\w-])--?[A-Za-z][a-z-]*")
LABEL = re.compile(r"(?<![\w./-])relinkd\.[a-z][a-z-]*\b(?!\.\w)")  # not relinkd.rules.yml


def told(text: str) -> str:
    """Leave out what is no command and no file of ours.

    That are the marks that relinkd makes in files, a container that is called relinkd, and the
    folder that a reader makes for wheels.
    """
    text = re.sub("# relinkd (begin|end|more)", "# mark", text).replace("deploy/wheels", "wheels")
    before = "--name|--volumes-from|docker (?:exec|rename|stop|rm|logs -n 1)"
    return re.sub(f"({before}) relinkd(?![-/])", r"\1 it", text)


def written_in(file: Path) -> Iterator[str]:
    """Yield the tests of a file as `name` and `Class::name`, by its syntax tree."""
    for node in ast.parse(file.read_text()).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for each in inside:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{prefix}{each.name}"


def missing_tests(text: str) -> list[str]:
    """Return the tests that a page names and nobody wrote."""
    found = []
    for named in TEST.findall(told(text)):
        file, _, test = named.partition("::")
        names = set(written_in(ROOT / file)) if (ROOT / file).is_file() else set()
        if test not in names or not test.rpartition("::")[2].startswith("test_"):
            found.append(named)
    return found


def missing_files(text: str) -> list[str]:
    """Return the files of the repository that a page names and are not there."""
    named = FILE.findall(told(text).replace("../", ""))
    return [each for each in named if not (ROOT / each).exists()]


def flags(command: str) -> set[str]:
    """Return the flags that the help of a command lists."""
    help_text = CliRunner().invoke(cli, [command, "--help"]).output
    assert "Options:" in help_text
    return set(FLAG.findall(help_text.partition("Options:")[2]))


def wrong_commands(text: str) -> list[str]:
    """Return the commands that a page names and `--help` does not, and flags that they lack."""
    options, _, listed = CliRunner().invoke(cli, ["--help"]).output.partition("Commands:")
    known = {words[0] for line in listed.splitlines() if (words := line.split())}
    found = []
    for code in CODE.findall(told(text)):
        for command, rest in COMMAND.findall(code):
            if command in FLAG.findall(options):
                continue
            if command not in known & set(COMMANDS):
                found.append(f"relinkd {command}")
            else:
                # What is behind a pipe, a redirection or a bracket is another's.
                given = FLAG.findall(re.split(r"[|>;)\"#]", rest)[0])
                found += [f"{command} {each}" for each in given if each not in flags(command)]
    return found


def unknown_flags(text: str, theirs: frozenset[str]) -> list[str]:
    """Return flags that stand alone in a page and are neither of a command nor `theirs`."""
    ours = {flag for command in COMMANDS for flag in flags(command)}
    alone = [code.strip("`").split()[0] for code in CODE.findall(told(text)) if code[1] == "-"]
    return [each for each in alone if each not in ours | theirs]


def known_labels() -> set[str]:
    """Return the labels that the rooms of decisions have a name for."""
    trees = [ast.parse(file.read_text()) for file in ROOT.glob("reconciler/links/*.py")]
    named = [node.value for tree in trees for node in tree.body if isinstance(node, ast.Assign)]
    texts = [node.value for node in named if isinstance(node, ast.Constant)]
    return {text for text in texts if isinstance(text, str) and LABEL.fullmatch(text)}


def wrong_labels(text: str) -> list[str]:
    """Return the labels that a page names and relinkd does not know."""
    return [each for each in LABEL.findall(told(text)) if each not in known_labels()]


DOCKERS = frozenset(
    {
        "--add-host",
        "--container-label",
        "--ip",
        "--ip-range",
        "--label",
        "--link",
        "--name",
        "--rm",
        "--security-opt",
        "-P",
        "-e",
        "-p",
        "-v",
    }
)
"""Flags of `docker run` and of services that the pages speak of."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def test_there_are_pages() -> None:
    assert {page.name for page in PAGES} >= {"README.md", "migrate.md", "seed.md"}


@each_page
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    assert missing_tests(page.read_text()) == []


@each_page
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    assert missing_files(page.read_text()) == []


@each_page
def test_every_command_and_flag_that_a_page_names_is_in_the_help(page: Path) -> None:
    assert wrong_commands(page.read_text()) == []
    assert unknown_flags(page.read_text(), DOCKERS) == []


@each_page
def test_every_label_that_a_page_names_is_known(page: Path) -> None:
    assert wrong_labels(page.read_text()) == []


@each_page
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https://)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def anchors(page: Path) -> set[str]:
    """Return what a link can say behind `#`: the headings, as Markdown renderers spell them."""
    headings = re.findall(r"^#+ (.+)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_every_heading_that_a_page_links_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https://)([^)#]*)#([^)]+)\)", page.read_text())
    missing = [
        f"{to}#{heading}"
        for to, heading in links
        if heading not in anchors(page.parent / to if to else page)
    ]
    assert missing == []


def test_the_index_names_every_page_once() -> None:
    named = re.findall(
        r"^\| \[[^]]+\]\(([a-z-]+\.md)\)", (ROOT / "docs/index.md").read_text(), re.MULTILINE
    )
    assert sorted(named) == sorted(page.name for page in DOCS if page.name != "index.md")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_engines_are_those_of_the_tests(page: str) -> None:
    *others, newest = REAL
    assert f"Docker {', '.join(others)} and {newest}" in (ROOT / page).read_text()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_seed_has_a_test_in_every_row() -> None:
    rows = [line for line in (ROOT / "docs/seed.md").read_text().splitlines() if line[:1] == "|"]
    heads = [at for at, line in enumerate(rows) if line == "| the guide says | here | held by |"]
    assert len(heads) == 6
    promises = [
        row for at, row in enumerate(rows) if at not in heads and not row.startswith("|---")
    ]
    assert len(promises) > 20
    for row in promises:
        said, here, held = row.strip("| ").split(" | ")
        assert said
        assert here
        assert all(TEST.fullmatch(each.strip("`")) for each in held.split(", "))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`relinkd lnks`", ["relinkd lnks"]),
        ("`relinkd links --wach`", ["links --wach"]),
        ("`relinkd links --watch` or `relinkd env web -H x`", []),
        ("`relinkd --version` or `relinkd --versoin`", ["relinkd --versoin"]),
        ("```console\n$ relinkd sink\n```\n", ["relinkd sink"]),
        ("```console\n$ relinkd env web | sed -E s > x\n```\n", []),
        ("relinkd says so", []),
        ("`# relinkd end` and `relinkd sooner`", ["relinkd sooner"]),
    ],
)
def test_a_wrong_command_or_flag_is_seen(text: str, wrong: list[str]) -> None:
    assert wrong_commands(text) == wrong


def test_a_wrong_flag_label_test_or_file_is_seen() -> None:
    assert unknown_flags("`--wach`, `--watch`, `-P`", DOCKERS) == ["--wach"]
    assert wrong_labels("`relinkd.link` and relinkd.links: db") == ["relinkd.link"]
    here = "tests/unit/test_docs.py"
    right = f"{here}::test_there_are_pages"
    wrong = [
        f"{here}::test_nothing",
        f"{here}::told",
        "tests/unit/test_no.py::test_there_are_pages",
    ]
    assert missing_tests(" ".join([right, *wrong])) == wrong
    assert missing_files(f"{here} docs/nothing.md") == ["docs/nothing.md"]
