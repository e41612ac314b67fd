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


def compare(
    names: Sequence[str], task: str, size: int, batch: int, runs: int, *flags: str
) -> dict[str, tuple[float, ...]]:
    """Tokens a second of each contestant, in turn, so that a change of the machine meets all."""
    arguments = [task, str(size), str(batch), *flags]
    contestants = [Contestant(n, ["demo.bench.contestant", n, *arguments]) for n in names]
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(runs):
        for contestant in contestants:
            speeds[contestant.name].append(contestant.run()["tokens_per_s"])
    for contestant in contestants:
        contestant.close()
    return {name: tuple(values) for name, values in speeds.items()}


def serve(facts: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> None:
    """The contestant's side: says it is ready, then measures once for each line it reads."""
    print(json.dumps({"ready": True, **facts}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)
