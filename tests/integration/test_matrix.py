"""Every row of what strangers may try has a test, and what holds for all of them."""

import ast
import os
import random
import re
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from demo.atomic_file import replace_file
from demo.errors import DemoError
from demo.settings import ROOT
from demo.ui.files import sweep
from demo.vision.image import open_picture
from tests.disks import small_disk
from tests.matrix import ROWS, named_rows

FOREIGN = re.compile(r"0x[0-9a-f]{4}|/tmp|/home|\bPIL\b|Traceback|\w+Error\b|<[\w.]+ object")
SAVING = """
import sys
from pathlib import Path
from demo.atomic_file import replace_file
path, n = Path(sys.argv[1]), 0
print("ready", flush=True)
while True:
    n += 1
    with replace_file(path) as unfinished:
        unfinished.write_bytes(bytes([n % 256]) * 1_000_000)
"""


def test_every_row_has_a_test() -> None:
    assert named_rows(ROOT / "tests") == set(ROWS)


@pytest.mark.matrix("A2")
def test_weights_are_opened_safely_everywhere() -> None:
    """No call of `torch.load` without `weights_only=True`, and none of what runs a file's code."""
    calls = []
    for path in [ROOT / "app.py", *(ROOT / "demo").rglob("*.py")]:
        text = path.read_text("utf-8")
        for node in ast.walk(ast.parse(text)) if re.search(r"load|eval|exec", text) else ():
            if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in (
                "torch.load", "pickle.load", "pickle.loads", "torch.jit.load", "joblib.load",
                "np.load", "eval", "exec",
            ):  # fmt: skip
                safe = {"weights_only": "True", "allow_pickle": "False"}
                said = {word.arg or "": ast.unparse(word.value) for word in node.keywords}
                if not any(said.get(key) == value for key, value in safe.items()):
                    calls.append((path.name, name))
    assert calls == []


@pytest.mark.matrix("B8")
def test_no_error_of_a_picture_says_more_than_it_should(tmp_path: Path) -> None:
    draw, room = random.Random(1), BytesIO()
    whole: dict[str, bytes] = {}
    for kind in ("PNG", "JPEG", "WEBP", "GIF"):
        room = BytesIO()
        Image.effect_noise((40, 30), 90).convert("RGB").save(room, kind)
        whole[kind] = room.getvalue()
    said = 0
    for kind, data in whole.items():
        for n in range(60):
            broken = bytearray(data[: draw.randrange(1, len(data))] if n % 2 else data)
            for _ in range(draw.randrange(1, 20)):
                broken[draw.randrange(len(broken))] = draw.randrange(256)
            path = tmp_path / f"secret-{kind}-{n}"
            path.write_bytes(broken)
            try:
                open_picture(path)
            except DemoError as error:
                said += 1
                assert len(str(error)) <= 300 and not FOREIGN.search(str(error)), error
                assert "secret" not in str(error)
    assert said > 100


def killed_while_saving(path: Path, times: int) -> None:
    """Kill a process that saves a file without a pause, at random moments."""
    with replace_file(path) as unfinished:
        unfinished.write_bytes(bytes(1_000_000))
    draw = random.Random(1)
    for _ in range(times):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVING, str(path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert child.stdout and child.stdout.readline()
        time.sleep(draw.random() * 0.05)
        child.kill()
        child.wait()
        child.stdout.close()
        data = path.read_bytes()
        assert len(data) == 1_000_000 and len(set(data)) == 1
        rest = list(path.parent.glob(".*.part"))
        assert len(rest) <= 1
        for left in rest:
            left.unlink()


@pytest.mark.matrix("D13")
def test_killed_while_saving_there_is_the_old_file_or_the_new(tmp_path: Path) -> None:
    killed_while_saving(tmp_path / "adapter.safetensors", 5)


@pytest.mark.nightly
@pytest.mark.matrix("D13")
def test_killed_a_hundred_times_while_saving(tmp_path: Path) -> None:
    killed_while_saving(tmp_path / "adapter.safetensors", 100)


@pytest.mark.matrix("D19")
@pytest.mark.parametrize("jump", [86_400, -86_400, 3_600, -3_600])
def test_a_clock_that_jumps_sweeps_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    begun = time.time()
    before, after = (tmp_path / name / "a.png" for name in ("before", "after"))
    for path, at in ((before, begun), (after, begun + jump)):
        path.parent.mkdir()
        path.write_bytes(b"x")
        for place in (path, path.parent):
            os.utime(place, (at, at))
    monkeypatch.setattr("demo.ui.files.time.time", lambda: begun + jump + 10)
    sweep(tmp_path, steady=begun + 10)
    assert before.exists() and after.exists()
    monkeypatch.setattr("demo.ui.files.time.time", lambda: begun + jump + 4_000)
    sweep(tmp_path, steady=begun + 4_000)
    assert not (before.exists() and after.exists())


OPENING = """
import sys
from pathlib import Path
from demo.llama.base import open_base
base = open_base(sys.argv[1], Path(sys.argv[2]), lambda text, share: None)
print(base.fingerprint)
"""


@pytest.mark.nightly
@pytest.mark.matrix("D13")
def test_two_starts_on_an_empty_cache_agree(tiny: Path, tiny_cache: Path) -> None:
    command = [sys.executable, "-c", OPENING, str(tiny), str(tiny_cache)]
    starts = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [start.communicate(timeout=300)[0] for start in starts]
    assert [start.returncode for start in starts] == [0, 0, 0]
    assert len(set(said)) == 1 and said[0].strip()
    assert not list(tiny_cache.rglob(".*.part"))


@pytest.mark.matrix("D14")
def test_a_disk_that_cannot_be_written_to_keeps_the_old_file(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        path = disk / "adapter.safetensors"
        path.write_bytes(b"old")
        with pytest.raises(OSError, match="No space"), replace_file(path) as unfinished:
            unfinished.write_bytes(bytes(2**21))
        remount = ["mount", "-o", "remount,ro", str(disk)]
        if subprocess.run(remount, capture_output=True).returncode:
            pytest.skip("a disk cannot be made read-only here")
        with pytest.raises(OSError, match="Read-only"), replace_file(path) as unfinished:
            unfinished.write_bytes(b"new")
        assert path.read_bytes() == b"old" and len(list(disk.iterdir())) == 1
