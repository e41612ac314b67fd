"""Two processes teach one adapter, and it comes out as one with twice the batch teaches it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from demo.finetune.runs.job import Job
from demo.finetune.runs.run_folder import RunFolder
from demo.finetune.train.config import TrainingOptions
from demo.finetune.train.events import Evaluated, Event, Step
from demo.settings import ROOT, Settings
from tests.processes import run_request

pytestmark = pytest.mark.compiles
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog"]
FLAGS = {"steps": 12, "prompts": 3, "layers": 2, "rate": 3e-3, "held_out": 0.2, "seed": 3}


def free_port() -> str:
    with socket.socket() as room:
        room.bind(("127.0.0.1", 0))
        return str(room.getsockname()[1])


def launched(arguments: list[str], cache: Path) -> list[int]:
    """Start two processes as `accelerate launch` and torchrun do; return their exit codes."""
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
        "LLAMA_ADAPTER_CACHE": str(cache),
    }
    command = [sys.executable, "-m", "demo.finetune", *arguments]
    started = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]
    return [process.wait(timeout=400) for process in started]


def test_losses_are_those_of_twice_the_batch(
    tiny_llama_folder: Callable[..., Path], tmp_path: Path
) -> None:
    base = str(tiny_llama_folder(max_position_embeddings=1024))
    data = tmp_path / "rows.jsonl"
    rows = [{"question": f"{a} {b}", "answer": f"{b} {a}"} for a in WORDS for b in WORDS[:4]]
    data.write_text("\n".join(map(json.dumps, rows)))
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in FLAGS.items()]
    flags += ["--batch=3", "--aim=style", f"--llama={base}"]
    places = [f"--folder={tmp_path / 'two'}", f"--adapters={tmp_path / 'adapters'}", "--out=shared"]
    assert launched([str(data), *flags, *places], tmp_path / "cache") == [0, 0]
    choices = TrainingOptions(**FLAGS, batch=6, aim="style")  # type: ignore[arg-type]
    settings = Settings(llama=base, cache=tmp_path / "cache", device="cpu", threads=1)
    alone, heard = RunFolder(tmp_path / "one"), list[Event]()
    alone.create(run_request(choices=choices, settings=settings), data)
    assert Job(alone, lambda: False, heard.append).run() == 0
    log = [
        json.loads(line) for line in (tmp_path / "two" / "events.jsonl").read_text().splitlines()
    ]
    for kind, name in ((Step, "step"), (Evaluated, "evaluated")):
        shared = [event["loss"] for event in log if event["event"] == name]
        assert shared == pytest.approx([e.loss for e in heard if isinstance(e, kind)], abs=1e-4)
    assert len([event for event in log if event["event"] == "step"]) == 12
    # One adapter, whose weights are those that one process learns.
    assert [path.name for path in (tmp_path / "adapters").iterdir()] == ["shared.safetensors"]
    mine, theirs = load_file(alone.adapter), load_file(tmp_path / "two" / "adapter.safetensors")
    for name, weights in mine.items():
        # Adam takes a whole step where a gradient is next to nothing but rounding.
        assert weights == pytest.approx(theirs[name], abs=FLAGS["rate"])
