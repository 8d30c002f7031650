"""What docs/ has of the code alone is up to date; the schema judges as relinkd does."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import fastjsonschema
import pytest

from reconciler.settings import SettingsError, load, names
from tests.reference import EXAMPLES, FILES, ROOT, SETTINGS

validate = fastjsonschema.compile(json.loads((ROOT / "docs/relinkd.schema.json").read_text()))
PAGES = [*ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md"), *ROOT.glob("examples/*.md")]
WRITTEN = [
    (page.name, text)
    for page in PAGES
    for text in re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize("name", FILES)
def test_it_says_what_the_code_says(name: str) -> None:
    assert (ROOT / name).read_text() == FILES[name](), "run `make reference`"


def accepted(text: str, folder: Path) -> tuple[bool, bool]:
    """Return whether the schema and whether relinkd accept a file."""
    try:
        validate(tomllib.loads(text))
        by_schema = True
    except fastjsonschema.JsonSchemaValueException:
        by_schema = False
    (folder / "relinkd.toml").write_text(text)
    try:
        load(folder / "relinkd.toml", {})
    except SettingsError:
        return by_schema, False
    return by_schema, True


def test_every_setting_has_its_section_and_its_example(tmp_path: Path) -> None:
    assert set(SETTINGS) == {*names(), "config"} - {"link"}
    assert EXAMPLES.keys() == set(SETTINGS) - {"config"}
    page = (ROOT / "docs/settings.md").read_text()
    assert re.findall(r"^## (\S+)$", page, re.MULTILINE) == [*SETTINGS]
    lines = "".join(f"{name} = {value}\n" for name, value in EXAMPLES.items())
    assert accepted(lines, tmp_path) == (True, True)


def test_there_are_examples() -> None:
    assert {name for name, _ in WRITTEN} >= {"settings.md", "labels.md"}


@pytest.mark.parametrize(("name", "text"), WRITTEN)
def test_every_file_that_a_page_shows_is_valid(name: str, text: str, tmp_path: Path) -> None:
    assert accepted(text, tmp_path) == (True, True), name


LINK = '[[link]]\nrecipient = "web"\nsource = "db"\n'


@pytest.mark.parametrize(
    "text",
    [
        "",
        LINK,
        LINK * 2,
        f'{LINK}wait-for = "healthy"\nnetwork = "back"\nalias = "x"\n',
        "resync = 60\n",
        "resync = 1.5\n",
        'resync = "1.5m"\n',
        "allow = []\n",
        'allow = "signal, restart"\n',
        'declared-by = ["label"]\n',
        'declared-by = "label,config"\n',
    ],
)
def test_both_accept(text: str, tmp_path: Path) -> None:
    assert accepted(text, tmp_path) == (True, True)


@pytest.mark.parametrize(
    "text",
    [
        'engin = "unix:///x"\n',
        'config = "x"\n',
        "origins = {}\n",
        "engine = 1\n",
        'delivery = "copy"\n',
        'resync = "soon"\n',
        "resync = 0\n",
        "resync = 86401\n",
        'allow = ["sudo"]\n',
        'allow = "exec,sudo"\n',
        "allow = [1]\n",
        'declared-by = ["labels"]\n',
        'log-level = "loud"\n',
        'log-format = "xml"\n',
        'link = "web"\n',
        '[link]\nrecipient = "web"\nsource = "db"\n',
        '[[link]]\nrecipient = "web"\n',
        '[[link]]\nsource = "db"\n',
        f'{LINK}waitfor = "healthy"\n',
        f'{LINK}wait-for = "ready"\n',
        f"{LINK}alias = 1\n",
    ],
)
def test_both_refuse(text: str, tmp_path: Path) -> None:
    assert accepted(text, tmp_path) == (False, False)
