"""The program on what `tests/full_size.py` made, as somebody starts it, and what that costs.

    python -m tests.full_size_use FOLDER

starts `python app.py --llama FOLDER/7B` with defaults three times: first where nothing is converted
yet; then with the adapter of version 1; then with the authors' kind of tower and those of version
2. Each time it asks, counts tokens a second from two lengths of one reply, and says the most memory
that the program and its children had: what is theirs alone, and with the pages of files, which are
given up when memory is needed. Converted weights and adapters lie in FOLDER.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from gradio_client import Client, handle_file

from demo.settings import ROOT
from tests.serving import Served, start

QUESTION = "Which animals live in a forest?"
PICTURE = ROOT / "assets" / "samples" / "teal-triangle.png"
SHORT, LONG = 4, 20  # tokens of the two replies
LOADING_SECONDS = 3600.0
LEAST_FREE = 2 * 2**30  # below which the program is ended: others need the machine


class MemoryWatch:
    """Notes every second the most memory of a process and its children, in megabytes."""

    def __init__(self, process: psutil.Process) -> None:
        self.own = self.resident = 0.0
        self._process, self._over = process, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(1):
            if psutil.virtual_memory().available < LEAST_FREE:
                print("less than 2 GB are free: the program is ended", flush=True)
                self._process.kill()
            own = resident = 0
            for one in self._all():
                try:
                    lines = Path(f"/proc/{one.pid}/status").read_text().splitlines()
                except OSError:
                    continue
                facts = dict(line.split(":", 1) for line in lines)
                if "VmRSS" in facts:  # it has not just ended
                    own += int(facts["RssAnon"].split()[0])
                    resident += int(facts["VmRSS"].split()[0])
            self.own = max(self.own, own / 1024)
            self.resident = max(self.resident, resident / 1024)

    def _all(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return []


def folders(folder: Path) -> dict[str, str]:
    """Give what all programs here are told: which model, and where they keep things."""
    kept = {name: str(folder / name) for name in ("cache", "adapters", "runs", "chats")}
    return {"llama": str(folder / "7B"), **kept}


@contextmanager
def program(folder: Path, *arguments: str) -> Iterator[tuple[Served, Client]]:
    """Start it, tell when it answers, and at the end how much memory it had."""
    begun = time.monotonic()
    given = {f"LLAMA_ADAPTER_{name.upper()}": path for name, path in folders(folder).items()}
    served = start(*arguments, environment=given)
    watch = MemoryWatch(psutil.Process(served.process.pid))
    print(f"  page after {time.monotonic() - begun:.0f} s", flush=True)
    try:
        before = ""
        while (status := served.status())["state"] == "loading":
            if time.monotonic() - begun > LOADING_SECONDS:
                break
            if (line := said(served)) != before:
                before = line
                print(f"  {time.monotonic() - begun:.0f} s: {line}", flush=True)
            time.sleep(1)
        print(f"  {status['state']} after {time.monotonic() - begun:.0f} s", flush=True)
        if status["state"] != "ready":
            raise SystemExit(served.log.read_text()[-3000:])
        yield served, Client(served.url, verbose=False)
    finally:
        watch.close()
        if served.process.poll() is None:
            served.stop()
        print(f"  memory at most: {watch.own:,.0f} MB its own, {watch.resident:,.0f} MB with files")


def said(served: Served) -> str:
    """Give the program's last line."""
    return (served.log.read_text().splitlines() or [""])[-1]


def ask(client: Client, adapter: str, picture: Path | None = None, **settings: float) -> str:
    """Ask twice, for a short and a longer reply; tell how fast, and give the longer one."""
    shown = handle_file(picture) if picture else None
    seconds, reply = [], ""
    for count in (SHORT, SHORT, LONG):  # the first one reads the prompt
        begun = time.monotonic()
        reply = client.predict(
            QUESTION, shown, adapter=adapter, max_new_tokens=count, api_name="/chat", **settings
        )
        seconds.append(time.monotonic() - begun)
    speed = (LONG - SHORT) / (seconds[2] - seconds[1])
    named = f"{adapter}{', a picture' if picture else ''}{f', {settings}' if settings else ''}"
    print(f"  {named}: first {seconds[0]:.1f} s, {speed:.2f} tok/s, {reply[:60]!r}", flush=True)
    if not reply:
        raise SystemExit("there was no reply")
    return reply


def read(folder: Path, name: str, *arguments: str) -> None:
    """Make an adapter of ours of a released file, by the command of the documents."""
    if (folder / "adapters" / f"{name}.safetensors").exists():
        return
    places = folders(folder)
    given = [f"--{part}={places[part]}" for part in ("llama", "cache", "adapters")]
    command = [sys.executable, "-m", "demo.adapter.released", str(folder / f"{name}.pth")]
    begun = time.monotonic()
    subprocess.run([*command, "--out", name, *given, *arguments], check=True, cwd=ROOT)
    print(f"  read in {time.monotonic() - begun:.0f} s", flush=True)


def use_all(folder: Path) -> None:
    """Start the program three times, and ask."""
    (folder / "adapters").mkdir(exist_ok=True)
    print(f"free: {psutil.virtual_memory().available / 2**20:,.0f} MB; load {os.getloadavg()}")
    print("first start, nothing converted")
    with program(folder) as (_, client):
        plain = ask(client, "none")
    print("version 1")
    read(folder, "v1")
    with program(folder) as (_, client):
        check(ask(client, "none") == plain, "another start answers alike")
        check(ask(client, "v1") != plain, "the adapter says something else")
        check(ask(client, "v1", strength=0.0) != "", "at no strength it answers")
    print("version 2, through ViT-L-14")
    tower = f"--clip=ViT-L-14:{folder / 'vision.pt'}"
    for name in ("v2-bias", "v2-lora"):
        read(folder, name, tower)
    with program(folder, tower) as (_, client):
        for name in ("v2-bias", "v2-lora"):
            blind = ask(client, name)
            check(blind != plain, "the adapter says something else")
            check(ask(client, name, PICTURE) != blind, "a picture changes what it says")


def check(holds: bool, what: str) -> None:
    """Stop where something does not hold."""
    if not holds:
        raise SystemExit(f"not so: {what}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    use_all(Path(sys.argv[1]).resolve())
