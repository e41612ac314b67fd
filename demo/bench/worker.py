"""A contestant in a process of its own, so that its threads and memory are nobody else's.

Speaks lines of JSON: `{"ready": …}` when it has loaded, then one result for every line it is sent.
It sleeps in between, so that contestants can take turns on the same cores.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any


class Contestant:
    """Starts `python -m MODULE NAME ARGS` and lets it run once at a time."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts = self._read()

    def run(self) -> dict[str, Any]:
        """One measured run."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Ends it."""
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def _read(self) -> dict[str, Any]:
        for line in self._process.stdout:
            if line.startswith("{"):  # libraries print lines of their own
                return json.loads(line)
        raise SystemExit(f"{self.name} ended early; install tests/peers.txt to compare with it.")


def serve(facts: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> None:
    """The contestant's side: says it is ready, then measures once for each line it reads."""
    print(json.dumps({"ready": True, **facts}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)
