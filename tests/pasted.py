"""What `relinkd migrate` prints, read as those do who paste it."""

from __future__ import annotations

import json
import re
import shlex

from reconciler.core.declare import LINKS


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
