"""A peer in a process of its own, so that its threads and memory are nobody else's.

`python -m demo.bench.peers.peer NAME TASK SIZE BATCH` runs one. Tasks: `decode`, SIZE greedy tokens
for each of BATCH sequences; `prefill`, SIZE tokens of a prompt; `train`, one step on BATCH texts of
SIZE tokens. All give tokens a second in total.

It speaks lines of JSON: `{"ready": …}` when it has loaded, then one result for every line it is
sent. It sleeps in between, so that peers can take turns on the same cores.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from demo.llama.base import Base, open_base
from demo.llama.tokenizer.chat_template import Message
from demo.settings import Settings


class PeerProcess:
    """Start `python -m MODULE NAME ARGS` and lets it run once at a time."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout
        self.facts = self._read()

    def run(self) -> dict[str, Any]:
        """Let it run once and return what it measured."""
        self._questions.write("go\n")
        self._questions.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._questions.close()
        self._process.wait(timeout=30)

    def _read(self) -> dict[str, Any]:
        for line in self._answers:
            if line.startswith("{"):  # libraries print lines of their own
                return json.loads(line)
        raise SystemExit(f"{self.name} ended early; install tests/peers.txt to compare with it.")


def compare(
    names: Sequence[str], task: str, size: int, batch: int, runs: int, *flags: str
) -> dict[str, tuple[float, ...]]:
    """Return each peer's tokens a second, in turn, so that a change of the machine meets all."""
    arguments = [task, str(size), str(batch), *flags]
    peers = [PeerProcess(n, ["demo.bench.peers.peer", n, *arguments]) for n in names]
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(runs):
        for peer in peers:
            speeds[peer.name].append(peer.run()["tokens_per_s"])
    for peer in peers:
        peer.close()
    return {name: tuple(values) for name, values in speeds.items()}


def serve(facts: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> None:
    """Say that this peer is ready, then measure once for each line on standard input."""
    print(json.dumps({"ready": True, **facts}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)


NAMES = ("ours", "llama.cpp", "bitsandbytes", "peft", "peft-bf16")
REPLY = 16  # tokens of a text that are taught; the rest is the question
QUESTION = "Write a long story about a lighthouse keeper and the sea."


class Peer(Protocol):
    """What every peer can do, timed by itself."""

    def decode(self, ids: list[int], count: int, batch: int) -> float:
        """Return seconds for `count` greedy tokens of each of `batch` sequences after a prompt."""

    def prefill(self, ids: list[int]) -> float:
        """Return the seconds from a prompt to the logits of its last token."""


@runtime_checkable
class TrainablePeer(Peer, Protocol):
    """A peer that learns an adapter."""

    def train(self, texts: list[list[int]], reply: int) -> float:
        """Return seconds for one step on the last `reply` tokens of texts of one length."""


def quiet(message: str, share: float | None) -> None:
    """Show no progress."""


def build(name: str, base: Base, settings: Settings, layers: int) -> Peer:
    """Load a peer; only its own libraries are imported."""
    if name == "ours":
        from demo.bench.peers.ours import Ours

        return Ours(base, settings, layers)
    if name == "llama.cpp":
        from demo.bench.peers.llama_cpp import LlamaCpp

        return LlamaCpp(settings)
    from demo.bench.peers.transformers import Transformers

    adapted = layers if name.startswith("peft") else 0
    return Transformers(base, settings, layers=adapted, int8=name != "peft-bf16")


def main() -> None:
    """Load, run once unmeasured, then once for every line on standard input."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("task", choices=("decode", "prefill", "train"))
    parser.add_argument("size", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("--layers", type=int, help="that have an adapter; all by default")
    args = parser.parse_args()
    settings = Settings()
    base = open_base(None, settings.cache, quiet)
    peer = build(args.name, base, settings, args.layers or base.config.layers)
    if args.task == "train" and not isinstance(peer, TrainablePeer):
        parser.error(f"{args.name} does not train adapters.")
    question = base.tokenizer.chat([Message("user", QUESTION)])

    def measure() -> dict[str, float]:
        text = base.tokenizer.encode_text("The keeper of the light went up. " * args.size)
        if args.task == "decode":
            seconds = peer.decode(question, args.size, args.batch)
        elif args.task == "prefill":
            seconds = peer.prefill(text[: args.size])
        else:
            assert isinstance(peer, TrainablePeer)
            # No two alike: what several texts share might be computed once.
            texts = [text[start:][: args.size] for start in range(args.batch)]
            seconds = peer.train(texts, REPLY)
        return {"tokens_per_s": args.size * args.batch / seconds}

    measure()  # compiles, fills caches
    serve({"name": args.name}, measure)


if __name__ == "__main__":
    main()
