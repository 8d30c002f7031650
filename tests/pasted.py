"""What `relinkd migrate` prints, read as those do who paste it."""

from __future__ import annotations

import json
import re
import shlex

from reconciler.links.declare import LINKS


def from_run(text: str) -> dict[str, str]:
    """Each label that is pasted behind `docker run`, by the recipient that the comment names."""
    found = {}
    recipient = ""
    for line in text.splitlines():
        if named := re.match(r"# (\S+): instead of ", line):
            recipient = named[1]
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "--label"
            name, _, value = words[1].partition("=")
            assert name == LINKS
            found[recipient] = value
    return found


def from_compose(text: str) -> dict[str, str]:
    """Each service's label; a strict reader of just what is written."""
    found = {}
    service = ""
    for line in text.splitlines():
        if line.startswith("#") or line in ("", "services:", "    labels:"):
            continue
        if named := re.fullmatch(r"  (\S+|\".+\"):", line):
            service = json.loads(named[1]) if named[1].startswith('"') else named[1]
        else:
            value = re.fullmatch(rf'      {re.escape(LINKS)}: (".*")', line)
            assert value is not None, line
            found[service] = json.loads(value[1]).replace("$$", "$")
    return found


def part(page: str, title: str) -> str:
    """Return a section of a page, without its heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def typed(section: str) -> list[tuple[str, str]]:
    """Return each command of a section's console blocks, on one line, and the output shown."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", "").splitlines():
            if line.startswith("$ "):
                found.append((" ".join(line.removeprefix("$ ").split()), ""))
            else:
                command, shown = found.pop()
                found.append((command, f"{shown}{line}\n"))
    return found


def yaml_of(section: str) -> str:
    """Return the only YAML block of a section."""
    (found,) = re.findall(r"^```yaml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(found)
