"""Three walks through the program, counted: `python -m tests.walks [chat] [teach] [weights]`.

    chat     a picture and a question, sent on the page → the streamed answer
    teach    typed rows on the page → a taught adapter that the chat can use, in all processes
    weights  the tensors of a GGUF file → the kernel that decodes with them

The second is taken on a small random base: through the same files, in a minute.

Each is run for real under a profiler (`call_recorder.py`). Printed are the files entered, the
functions, the calls that cross files, and how often the road goes back to a file that it had left.
`--list` prints the files with their functions, `--order` every function as it is first entered,
`--write docs/architecture.md` draws the walks between the marks of that file.
"""

import argparse
import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.call_recorder import Recorder, Walk

ROOT = Path.cwd()  # of the program that is walked through
PICTURE = "assets/samples/house.png"
QUESTION = "What is in this picture?"
TOKENS = 16
ROWS = [[f"What does shop number {n} sell?", f"It sells {n} kinds of bread."] for n in range(12)]
STEPS = 12
PATIENCE = 600.0  # seconds
OUT = "WALK_FOLDER"  # environment variable: where a child process writes what it entered
# Bars of the three walks: files, returns (None where only the files are bounded).
TINY = "tiny-gguf"  # what a child process is asked to write
BARS: dict[str, tuple[int, int | None]] = {
    "chat": (20, 25),
    "teach": (45, None),
    "weights": (16, None),
}


def record_process() -> None:
    """Record all of this process, to be read by its parent; called before anything is imported."""
    recorder = Recorder(Path(os.environ["WALK_ROOT"]))
    folder = Path(os.environ[OUT])

    def write() -> None:
        recorder.on = False
        if recorder.walk().order:
            (folder / f"{os.getpid()}.json").write_text(recorder.walk().to_json())

    atexit.register(write)
    recorder.install()
    recorder.on = True


def chat(recorder: Recorder) -> Walk:
    """Send a picture with a question, as the page does, and read the answer to its end."""
    with served(recorder) as page:
        folder = Path(os.environ["GRADIO_TEMP_DIR"]) / ("0" * 64)
        folder.mkdir(parents=True)
        picture = folder / "house.png"
        picture.write_bytes((ROOT / PICTURE).read_bytes())
        message = {"text": QUESTION, "files": [str(picture)]}
        send = page.event("send")
        inputs = page.values(send, {1: message})
        settings = [at for at, value in enumerate(inputs) if value == 256]
        inputs[settings[0]] = TOKENS
        recorder.on = True
        for _ in send.fn(*inputs):
            pass
        recorder.on = False
        reply = page.runtime.conversations.of("walk").turns[-1].reply
        assert "house" in reply, reply
    return recorder.walk()


def teach(recorder: Recorder) -> Walk:
    """Type rows, see them checked and estimated, teach, and put the adapter into the chat."""
    with tempfile.TemporaryDirectory() as name, served(recorder, small_base(name)) as page:
        from demo.finetune.train.config import TrainingOptions

        write_site(Path(name))
        recorder.on = True
        rows, measure, start = (page.event(name) for name in ("rows", "measure", "start"))
        fields, shown = page.values(measure)[1:], dict[Any, Any]()
        for update in rows.fn(page.owner, {"data": ROWS}, *fields):
            shown |= update
        fields = [  # as the check has set them
            given if isinstance(shown.get(component, {}), dict) else shown[component]
            for component, given in zip(measure.inputs[1:], fields, strict=True)
        ]
        fields[list(vars(TrainingOptions())).index("steps")] = STEPS
        list(measure.fn(page.owner, *fields))
        begin = page.values(start, {1: "", 2: "walk"})  # nothing is taught more; its name
        start.fn(*begin[: -len(fields)], *fields)
        page.wait_for_training()
        use = page.event("use")
        recorder.on = True
        shown = use.fn(page.owner, page.run_id())
        recorder.on = False
        chosen = [getattr(value, "value", value) for value in shown.values()]
        assert "walk" in chosen, chosen
        walk = recorder.walk()
        children = sorted(Path(name).glob("*.json"), key=lambda path: path.stat().st_mtime)
        assert len(children) == 2, "of an estimate and a training"
        for path in children:
            walk = walk.merged(Walk.from_json(path.read_text()))
        for variable in (OUT, "PYTHONPATH"):
            os.environ.pop(variable, None)
    return walk


def weights(recorder: Recorder) -> Walk:
    """Open a GGUF file with an empty cache and decode one token with it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own, and decoded with once: what is compiled is then on the disk.
        subprocess.run([sys.executable, "-m", "tests.walks", TINY, str(folder)], check=True)
        # What importing does is no part of the walk.
        import demo.llama.base
        import demo.llama.decoder  # noqa: F401

        recorder.install()
        recorder.on = True
        decode_once(folder / "tiny.gguf", folder / "cache")
        recorder.on = False
    return recorder.walk()


def decode_once(gguf: Path, cache: Path) -> None:
    """Convert a GGUF file and decode one token."""
    import numpy as np
    import torch

    from demo.llama.base import load_llama, open_base
    from demo.llama.decoder import Decoder, SlotSizes

    base = open_base(str(gguf), cache, lambda message, share: None)
    model = load_llama(base, torch.device("cpu"), 64)
    decoder = Decoder(model, SlotSizes(1, 64, 8), 1)
    assert np.isfinite(decoder.step(*(np.zeros(1, np.int64) for _ in range(3)))).all()


class Page:
    """The page as it is built, whose events are called as gradio calls them."""

    def __init__(self, runtime: Any, blocks: Any, owner: str) -> None:
        self.runtime, self.blocks, self.owner = runtime, blocks, owner

    def event(self, name: str) -> Any:
        """The event whose handler has that name."""
        found = [fn for fn in self.blocks.fns.values() if getattr(fn.fn, "__name__", "") == name]
        assert found, f"no event of the page is called {name}"
        return found[0]

    def values(self, event: Any, given: dict[int, Any] | None = None) -> list[Any]:
        """What the page holds for an event's inputs; `given` by place comes instead."""
        found = []
        for place, component in enumerate(event.inputs):
            value = getattr(component, "value", None)
            if (given or {}).get(place) is not None:
                value = (given or {})[place]
            elif type(component).__name__ == "State":
                value = "walk" if value is None or callable(value) else value
            elif type(component).__name__ == "BrowserState":
                value = self.owner
            found.append(value)
        return found

    def run_id(self) -> str:
        """Of the newest training."""
        from demo.adapter.library import owner_of

        return self.runtime.teaching.runs.of(owner_of(self.owner))[0].id

    def wait_for_training(self) -> None:
        """Until the newest training is over, looking at it as the page does."""
        tick = self.event("tick")
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            tick.fn(self.owner, self.run_id(), "", None)
            from demo.adapter.library import owner_of

            run = self.runtime.teaching.runs.of(owner_of(self.owner))[0]
            if run.state in ("done", "stopped", "failed", "interrupted") and not run.ending:
                assert run.state == "done", run
                return
            time.sleep(0.5)
        raise AssertionError("the training did not end")


@contextmanager
def served(recorder: Recorder, llama: str | None = None) -> Iterator[Page]:
    """The page over a loaded runtime, with folders of its own and no port.

    `llama` names the base, None the embedded one.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
        (folder / "uploads").mkdir()
        from demo.runtime import Runtime
        from demo.settings import Settings
        from demo.ui.page import build_page

        recorder.install()
        adapters = Path(shutil.copytree(Settings().adapters, folder / "adapters"))
        settings = Settings(runs=folder / "runs", adapters=adapters)
        if llama:
            settings = replace(settings, llama=llama, cache=folder / "cache")
        runtime = Runtime(settings)
        page = Page(runtime, build_page(runtime), "o" * 43)
        runtime.start()
        try:
            end = time.monotonic() + PATIENCE
            while runtime.status().state != "ready" and time.monotonic() < end:
                time.sleep(0.2)
            assert runtime.status().state == "ready", runtime.status()
            yield page
        finally:
            runtime.close()


def write_site(folder: Path) -> None:
    """Make all child processes from now on record themselves into `folder`."""
    code = "from tests.walks import record_process\nrecord_process()\n"
    (folder / "sitecustomize.py").write_text(code)
    here = Path(__file__).parent.parent
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), str(here)])
    os.environ[OUT], os.environ["WALK_ROOT"] = str(folder), str(ROOT)


def small_base(folder: str) -> str:
    """Write a random LLaMA of three layers, whose training takes seconds; return where it is."""
    from tests.fixtures import make_tiny_llama, make_tiny_tokenizer

    made = Path(folder) / "base"
    made.mkdir()
    make_tiny_llama(made, make_tiny_tokenizer(), max_position_embeddings=4096)
    return str(made)


def write_tiny_gguf(folder: Path) -> None:
    """Write a random LLaMA of three layers as llama.cpp does, and decode with it."""
    from demo.llama.weights.huggingface import FolderSource
    from tests.fixtures import make_tiny_llama, make_tiny_tokenizer
    from tests.formats import write_gguf

    made = folder / "tiny"
    made.mkdir()
    make_tiny_llama(made, make_tiny_tokenizer(), hidden_size=96, intermediate_size=96)
    decode_once(write_gguf(folder / "tiny.gguf", FolderSource(made, "tiny")), folder / "first")


WALKS: dict[str, Callable[[Recorder], Walk]] = {"chat": chat, "teach": teach, "weights": weights}


def listed(walk: Walk) -> Iterable[str]:
    """Each file with its functions."""
    for file in walk.files:
        yield f"  {file}: {', '.join(name for f, name in walk.order if f == file)}"


def drawn(walk: Walk) -> str:
    """A walk as a Mermaid flow chart: its files in their order, and which call which."""
    places = {file: number for number, file in enumerate(walk.files)}
    arrows = sorted({(places[a], places[b]) for (a, _), (b, _) in walk.calls if a in places})
    nodes = [f'    n{n}["{n + 1} {file.removeprefix("demo/")}"]' for file, n in places.items()]
    lines = [f"    n{a} --> n{b}" for a, b in arrows]
    return "\n".join(["```mermaid", "flowchart TD", *nodes, *lines, "```"])


def write(path: Path, name: str, walk: Walk) -> None:
    """Put a walk's drawing between its two marks in a Markdown file."""
    begin, end = f"<!-- walk {name} -->", f"<!-- /walk {name} -->"
    before, rest = path.read_text("utf-8").split(begin)
    after = rest.split(end)[1]
    text = f"{begin}\n{walk.summary()}\n\n{drawn(walk)}\n{end}"
    path.write_text(before + text + after, "utf-8")


def main() -> int:
    """Take the walks that are named, each in a process of its own. Exit status 1: a bar missed."""
    if sys.argv[1:2] == [TINY]:
        write_tiny_gguf(Path(sys.argv[2]))
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.walks", description=__doc__)
    parser.add_argument("walks", nargs="*", choices=[*WALKS, []], help="all by default")
    parser.add_argument("--list", action="store_true", help="print files with their functions")
    parser.add_argument("--order", action="store_true", help="print functions as they are entered")
    parser.add_argument("--json", action="store_true", help="print counts and files as JSON")
    parser.add_argument("--write", type=Path, help="Markdown file to draw the walks into")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a bar is missed")
    options = parser.parse_args()
    names = options.walks or list(WALKS)
    missed = False
    for name in names:
        walk = WALKS[name](Recorder(ROOT))
        files, most = BARS[name]
        returns = walk.moves()[1]
        missed |= len(walk.files) > files or (most is not None and returns > most)
        if options.json:
            print(json.dumps({"walk": name, "files": walk.files, "returns": returns}))
            continue
        print(f"{name}: {walk.summary()}", flush=True)
        if options.write:
            write(options.write, name, walk)
        if options.list:
            print("\n".join(listed(walk)))
        if options.order:
            print("\n".join(f"  {file} {function}" for file, function in walk.order))
    return int(options.check and missed)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # what was loaded is not taken apart
