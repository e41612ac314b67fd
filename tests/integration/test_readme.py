"""What README shows works as pasted."""

import re
import subprocess
import sys

import pytest

from tests.serving import ROOT, shared

README = (ROOT / "README.md").read_text("utf-8")


def test_the_client_example_runs_as_it_stands():
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    code = code.replace("http://127.0.0.1:7860", shared().url)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
    assert "triangle" in done.stdout
    assert "'name': 'shapes'" in done.stdout
    assert "'state': 'ready'" in done.stdout


@pytest.mark.parametrize("module", re.findall(r"python -m (demo\.\S+)", README))
def test_the_commands_named_exist(module):
    done = subprocess.run(
        [sys.executable, "-m", module.strip("`"), "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_file_and_folder_named_is_there():
    tree = re.findall(r"^(\S+/|\S+\.py) {2,}", README, flags=re.MULTILINE)
    links = re.findall(r"`((?:checkpoints|assets|demo|tests)/[^`\s]*)`", README)
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert tree and pictures
    assert [name for name in (*tree, *links, *pictures) if not (ROOT / name).exists()] == []
