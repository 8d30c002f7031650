"""A busy loop that reads the files without a pause: what they showed, however short.

`python -m tests.bench.sampler NAME,... FILE...` answers each line of its input with the runs of
equal answers since the last: the file, the addresses, when their first read had ended, and when
their last had begun.
"""

import json
import select
import sys
import time

from tests.bench.judge import addresses


def main() -> None:
    """Read until the input ends."""
    names, *paths = sys.argv[1:]
    runs: list[list[object]] = []
    last: dict[int, list[object]] = {}
    asked = select.poll()
    asked.register(0, select.POLLIN | select.POLLHUP)
    print("ready", flush=True)
    while True:
        for number, path in enumerate(paths):
            begun = time.time_ns()
            found = addresses(path, names.split(","))
            run = last.get(number)
            if run is None or run[1] != found:
                last[number] = [number, found, time.time_ns(), begun]
                runs.append(last[number])
            else:
                run[3] = begun
        if asked.poll(0):
            if not sys.stdin.readline():
                return
            print(json.dumps(runs), flush=True)
            runs = []
            last = {}


if __name__ == "__main__":
    main()
