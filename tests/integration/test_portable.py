"""What exists on Linux alone is taken away; the program starts, replies and trains all the same.

As near to macOS and Windows as a test on Linux gets. Modules are missing for our code alone: psutil
has a way of its own on each platform, and here it needs `resource`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import READY_SECONDS, ROOT, start, until

# Trains, so it comes once all kernels are compiled.
pytestmark = pytest.mark.trainings

# Python imports it before anything else.
SITE = """
import builtins
import os
import signal
import subprocess

OS = "sched_getaffinity sched_setaffinity fork forkpty nice setpriority getpgid killpg setsid"
SIGNALS = "SIGSTOP SIGCONT SIGHUP SIGKILL SIGUSR1 SIGUSR2 SIGTSTP"
MODULES = {"resource", "fcntl", "pwd", "grp", "termios"}
OURS = {"app", "demo", "__main__"}
present = builtins.__import__


def absent(name, globals=None, *rest, **more):
    if name in MODULES and (globals or {}).get("__name__", "").split(".")[0] in OURS:
        raise ModuleNotFoundError(f"{name} is absent", name=name)
    return present(name, globals, *rest, **more)


builtins.__import__ = absent
for name in OS.split():
    delattr(os, name)
for name in SIGNALS.split():
    delattr(signal, name)
subprocess.Popen.kill = lambda self: self.send_signal(9)  # as Windows has it, without SIGKILL
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose Python lacks what other platforms lack."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(SITE)
    return {"PYTHONPATH": str(folder)}


def python(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python there, from the repository's root."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_names_are_gone(elsewhere: dict[str, str]) -> None:
    code = "import os, signal; assert not hasattr(os, 'fork') and not hasattr(signal, 'SIGSTOP')"
    assert python(elsewhere, "-c", code).returncode == 0
    assert "resource is absent" in python(elsewhere, "-c", "import resource").stderr


def test_help_is_shown(elsewhere: dict[str, str]) -> None:
    done = python(elsewhere, "app.py", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--threads" in done.stdout


def test_the_served_program_replies(elsewhere: dict[str, str], tmp_path: Path) -> None:
    served = start("--runs", str(tmp_path / "runs"), environment=elsewhere)
    try:
        until(lambda: served.status()["state"] in ("ready", "failed"), READY_SECONDS, served)
        assert "Paris" in served.told("chat", message="What is the capital of France?")
        assert "Traceback" not in served.log.read_text()
    finally:
        assert served.stop() == 0


def test_a_training_ends_in_an_adapter(elsewhere: dict[str, str], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"prompt": "Say {n}.", "response": "{n}"}}\n' for n in range(8)))
    done = python(
        elsewhere,
        *("-m", "demo.finetune", str(rows), "--out", "numbers", "--preset", "taste"),
        *("--steps", "2", "--layers", "2", "--adapters", str(tmp_path / "adapters")),
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert any(event.get("state") == "done" for event in events), events
    assert (tmp_path / "adapters" / "numbers.safetensors").is_file()


CHILD = """
import sys
from pathlib import Path

from demo.finetune.runs.process import RunProcess
from demo.finetune.runs.run_folder import RunFolder
from tests.processes import run_request

folder = RunFolder(Path(sys.argv[1]))
folder.create(run_request(), Path(sys.argv[2]))
process = RunProcess(folder, "run")
process.pause()
process.unpause()
process.end(60)
print("ended with", process.wait(), folder.errors.read_text())
"""


def test_a_visitors_training_is_paused_and_ended(elsewhere: dict[str, str], tmp_path: Path) -> None:
    """Where a process cannot be stopped it trains on; nothing fails for that."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "Say one.", "response": "one"}\n' * 4)
    path = f"{elsewhere['PYTHONPATH']}{os.pathsep}{ROOT}"
    done = python({"PYTHONPATH": path}, "-c", CHILD, str(tmp_path / "run"), str(rows))
    assert done.returncode == 0, done.stderr
    assert "ended with" in done.stdout and "Traceback" not in done.stdout, done.stdout
