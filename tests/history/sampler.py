"""The third process: looks at hosts files two hundred times a second, and notes what they become.

`python -m tests.history.sampler OUTPUT OWNER=PATH...` appends a line of a record for each new
content, until SIGTERM. It says `ready` after its first look.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

PAUSE = 0.005


def main() -> None:
    """Look until SIGTERM, and once more after it."""
    output, *given = sys.argv[1:]
    paths = {owner: Path(path) for owner, _, path in (each.partition("=") for each in given)}
    last: dict[str, str] = {}
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    with Path(output).open("a", encoding="utf-8") as record:

        def look() -> None:
            for owner, path in paths.items():
                at = time.time()
                try:
                    text = path.read_text("utf-8", "replace")
                except FileNotFoundError:
                    text = ""
                if last.get(owner) != text:
                    last[owner] = text
                    line = {"at": at, "kind": "file", "owner": owner, "text": text}
                    record.write(json.dumps(line) + "\n")

        look()
        print("ready", flush=True)
        while not ended:
            time.sleep(PAUSE)
            look()
        look()


if __name__ == "__main__":
    main()
