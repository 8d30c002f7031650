"""What the guide shows of a run, whatever the addresses of this one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

ADDRESS = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b")


@dataclass
class Addresses:
    """Which address of a run each one of the page is."""

    real: dict[str, str] = field(default_factory=dict)

    def matches(self, shown: tuple[str, ...], printed: str) -> bool:
        """Tell whether this is what the page shows, and if so learn the addresses in it."""
        met: dict[str, str] = {}
        pattern = ""
        for line in shown:
            pattern += r"(?:.*\n)*?" if line == "..." else self._line(line.rstrip(), met)
        lines = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
        found = re.fullmatch(pattern, lines)
        if found is None:
            return False
        learnt = self.real | {address: found[group] for address, group in met.items()}
        if len(set(learnt.values())) < len(learnt):
            return False
        self.real = learnt
        return True

    def _line(self, line: str, met: dict[str, str]) -> str:
        pattern, at = "", 0
        for each in ADDRESS.finditer(line):
            pattern += re.escape(line[at : each.start()])
            at = each.end()
            if known := self.real.get(each[0]):
                pattern += re.escape(known)
            elif group := met.get(each[0]):
                pattern += f"(?P={group})"
            else:
                met[each[0]] = f"a{len(met)}"
                pattern += f"(?P<{met[each[0]]}>{ADDRESS.pattern})"
        return f"{pattern}{re.escape(line[at:])}\n"
