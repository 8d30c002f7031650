"""`python -m tests.reference` writes what docs/ says by the code alone, and no hand:

the reference in docs/settings.md, the schema of the config file, and the man page. A test compares
them with what the code says now.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from reconciler.cli.commands import COMMANDS, cli
from reconciler.settings import Settings, names

ROOT = Path(__file__).parents[1]
BEGIN = "<!-- Below, all is written by `make reference`, of the help of the commands. -->\n"
EXAMPLES: Mapping[str, str] = {
    "engine": '"unix:///run/user/1000/docker.sock"',
    "containers-dir": '"/srv/docker/containers"',
    "delivery": '"auto"',
    "declared-by": '["label", "config"]',
    "resync": '"5m"',
    "allow": '["exec", "signal", "host-names"]',
    "host-names-file": '"/run/hosts"',
    "host-names-suffix": '".box"',
    "private-pool": '"10.214.0.0/16"',
    "listen": '"127.0.0.1:9090"',
    "routed": '["backbone", "10.28.0.0/16"]',
    "fleet": '"etcds://10.0.0.1,10.0.0.2,10.0.0.3"',
    "fleet-prefix": '"/relinkd/berlin"',
    "fleet-lease": '"15s"',
    "fleet-address": '"10.0.0.1"',
    "fleet-ca": '"/etc/relinkd/ca.pem"',
    "fleet-cert": '"/etc/relinkd/cert.pem"',
    "fleet-key": '"/etc/relinkd/key.pem"',
    "fleet-user": '"relinkd"',
    "fleet-password-file": '"/run/secrets/etcd"',
    "run-dir": '"/run/user/1000/relinkd"',
    "log-format": '"json"',
    "log-level": '"warning"',
}
"""Setting -> how a line of the file could have it; together they are a valid file."""
_DEFAULT = re.compile(r"\s*(?:\[default: (.*)\]|Default: (.*)\.)$", re.DOTALL)


# -- what the commands say -------------------------------------------------------------------------


def command(name: str) -> click.Command:
    """Return a command."""
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def options(name: str) -> dict[str, click.Option]:
    """Return the options of a command, by their long flag without dashes."""
    found = (each for each in command(name).params if isinstance(each, click.Option))
    return {max(each.opts, key=len).removeprefix("--"): each for each in found}


SETTINGS = {name: option for name, option in options("run").items() if name in (*names(), "config")}
"""Every setting, in the order of `relinkd run --help`."""


def told(option: click.Option) -> tuple[str, str]:
    """Return what an option's help says, and its default."""
    text = option.help or ""
    found = _DEFAULT.search(text)
    return (text[: found.start()], (found[1] or found[2])) if found else (text, "none")


def takers(name: str) -> tuple[list[str], dict[str, list[str]]]:
    """Return the commands that take a setting as `run` does, and by another help text those others.

    `status` and the like are given in the order of the help.
    """
    same, others = [], dict[str, list[str]]()
    for each in COMMANDS:
        option = options(each).get(name)
        if option is None:
            continue
        if option.help == SETTINGS[name].help:
            same.append(each)
        else:
            others.setdefault(option.help or "", []).append(each)
    return same, others


# -- docs/settings.md ------------------------------------------------------------------------------


def settings_page() -> str:
    """Return the page with its reference as the commands have it now."""
    page = (ROOT / "docs/settings.md").read_text()
    return page.partition(BEGIN)[0] + BEGIN + "".join(map(_section, SETTINGS))


def _section(name: str) -> str:
    option = SETTINGS[name]
    text, default = told(option)
    same, others = takers(name)
    value = (option.metavar or "").replace("|", "`, `")
    what = f"one of `{value}`" if "`" in value else f"`{value}`"
    flags = ", ".join(f"`{each}`" for each in sorted(option.opts, key=len, reverse=True))
    rows = [
        ("flag", f"{flags}, with {what}"),
        ("variable", f"`{option.envvar}`"),
        *([("in the file", f"`{name} = {EXAMPLES[name]}`")] if name in EXAMPLES else []),
        (
            "default",
            f"`{default}`"
            if default != "none" and re.fullmatch(r"[a-z0-9./,-]+", default)
            else default,
        ),
        ("commands", _listed(same)),
        *((_listed(commands), help_text) for help_text, commands in others.items()),
    ]
    return f"\n## {name}\n\n{text}\n\n| | |\n|---|---|\n" + "".join(
        f"| {left} | {right} |\n" for left, right in rows
    )


def _listed(commands: list[str]) -> str:
    settled = [name for name in COMMANDS if "log-level" in options(name)]
    without = [f"`{name}`" for name in COMMANDS if name not in commands]
    if set(settled) <= set(commands):
        return f"all but {', '.join(without)}"
    return ", ".join(f"`{name}`" for name in commands)


# -- the schema of the config file -----------------------------------------------------------------


def schema() -> str:
    """Return the JSON Schema of the config file: the struct's, and the other forms it takes."""
    found: dict[str, Any] = msgspec.json.schema(Settings)["$defs"]
    whole, link = found["Settings"], found["ConfigLink"]
    properties = {name: whole["properties"][name] for name in names()}
    for name, option in SETTINGS.items():
        if name in properties:
            properties[name]["description"] = told(option)[0]
    # What a list may also be, and the time, is text as on the command line.
    for name in ("allow", "declared-by"):
        words = "|".join(properties[name]["items"]["enum"])
        text = {"type": "string", "pattern": f"^\\s*(({words})\\s*(,\\s*|$))*$"}
        _either(properties[name], text)
    for name in ("resync", "fleet-lease"):
        _either(properties[name], {"type": "string", "pattern": "^[0-9.]+[smh]?$"})
    for each in (*properties.values(), *link["properties"].values()):
        _without_null(each)
    del link["title"]
    whole |= {"title": "relinkd: the file of --config", "properties": properties}
    del whole["description"], whole["required"]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps({**head, **whole, "$defs": {"ConfigLink": link}}, indent=2) + "\n"


def _either(of: dict[str, Any], text: Mapping[str, str]) -> None:
    about = {key: of.pop(key) for key in ("default", "description")}
    other = dict(of)
    of.clear()
    of |= {"anyOf": [other, dict(text)], **about}


def _without_null(of: dict[str, Any]) -> None:
    """TOML has no null: a setting without a value is not in the file."""
    if {"type": "null"} in of.get("anyOf", ()):
        (other,) = (each for each in of.pop("anyOf") if each != {"type": "null"})
        of.pop("default")
        of |= other


# -- the man page ----------------------------------------------------------------------------------


def man_page() -> str:
    """Return the man page, of every command's help."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    changes = (ROOT / "CHANGELOG.md").read_text()
    (released, *_) = re.findall(r"^## \[[0-9.]+\] - (\S+)", changes, re.MULTILINE)
    title = (cli.help or "").partition(".")[0].replace("`", "").lower()
    about, _, exits = inspect.cleandoc(cli.help or "").partition("\b\nExit codes: ")
    lines = [
        '.\\" Written by `make reference`.',
        f'.TH RELINKD 1 "{released}" "relinkd {project["version"]}"',
        ".SH NAME",
        f"relinkd \\- {_roff(title.strip())}",
        ".SH SYNOPSIS",
        ".B relinkd",
        ".I COMMAND",
        "[\\fIOPTION\\fR]...",
        ".SH DESCRIPTION",
        *_paragraphs(about.partition("\n")[2]),
        ".SH EXIT STATUS",
        *_filled(exits),
        ".SH COMMANDS",
    ]
    for name in COMMANDS:
        lines += [f".SS relinkd {name}{_arguments(name)}", *_paragraphs(command(name).help or "")]
        own = {flag: each for flag, each in options(name).items() if flag not in SETTINGS}
        for option in own.values():
            lines += _option(option)
    lines += [".SH SETTINGS", *_filled(_PRECEDENCE)]
    for option in SETTINGS.values():
        lines += [*_option(option), ".br", f"Variable: \\fB{option.envvar}\\fR"]
    lines += [".SH SEE ALSO", ".BR docker (1),", ".BR hosts (5)"]
    return "\n".join(lines) + "\n"


_PRECEDENCE = """\
relinkd takes each setting from the first of these that has it: the flag, the variable, the file of
`--config`, the default. A command that is given none goes by the settings of the running daemon."""


def _arguments(name: str) -> str:
    found = (each for each in command(name).params if isinstance(each, click.Argument))
    return "".join(
        f" \\fI{_roff(each.make_metavar(click.Context(command(name))))}\\fR" for each in found
    )


def _option(option: click.Option) -> Iterator[str]:
    value = option.metavar or (
        "|".join(map(str, option.type.choices)) if isinstance(option.type, click.Choice) else ""
    )
    flags = ", ".join(f"\\fB{_roff(each)}\\fR" for each in option.opts)
    text, default = told(option)
    if option.show_default and default == "none":
        default = str(option.default)
    yield ".TP"
    yield f"{flags} \\fI{_roff(value)}\\fR" if value else flags
    yield from _filled(text + (f" Default: {default}." if default != "none" else ""))


def _paragraphs(text: str) -> Iterator[str]:
    """Yield paragraphs as roff; those after click's `\\b` keep their lines."""
    first = True
    for paragraph in filter(str.strip, re.split(r"\n[ ]*\n", text.strip("\n"))):
        if not first:
            yield ".PP"
        first = False
        rows = paragraph.strip("\n").split("\n")
        if rows[0].strip() == "\b":
            kept = textwrap.dedent("\n".join(rows[1:])).split("\n")
            yield from [".nf", *map(_roff, kept), ".fi"]
        else:
            yield from _filled(paragraph)


def _filled(text: str) -> list[str]:
    """Return text as lines that roff fills again, with `code` in bold."""
    bold = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", _roff(" ".join(text.split())))
    lines = textwrap.wrap(bold, 78, break_long_words=False, break_on_hyphens=False)
    return [_roff_line(line) for line in lines]


def _roff(text: str) -> str:
    """Return text that roff shows as it is."""
    return _roff_line(text.replace("\\", "\\e").replace("-", "\\-"))


def _roff_line(line: str) -> str:
    """Return a line that roff takes for text, not for a request."""
    return rf"\&{line}" if line.startswith((".", "'")) else line


FILES: Mapping[str, Callable[[], str]] = {
    "docs/settings.md": settings_page,
    "docs/relinkd.schema.json": schema,
    "docs/relinkd.1": man_page,
}


def main() -> None:
    """Write every file that is not as it should be."""
    for name, made in FILES.items():
        path, text = ROOT / name, made()
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"{name} written", file=sys.stderr)


if __name__ == "__main__":
    main()
