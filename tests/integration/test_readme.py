"""What README and the documents beside it show works as pasted."""

import re
import runpy
import subprocess
import sys

import pytest

from demo.settings import ROOT
from tests.serving import shared

pytestmark = pytest.mark.page

README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = README + "".join(p.read_text("utf-8") for p in sorted((ROOT / "docs").glob("*.md")))
COMMANDS = re.findall(r"python -m (demo\.[^`\n…]+)", DOCUMENTS)


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


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")  # by another test
@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"python -m (demo\.[^`\n…]+)", DOCUMENTS)))
)
def test_the_commands_named_exist(command, monkeypatch, capsys):
    """Each as `python -m` runs it, with --help; its flags are among those that this explains."""
    module, *words = command.split()
    monkeypatch.setattr(sys, "argv", [module, *words, "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    assert stop.value.code == 0
    explained = capsys.readouterr().out
    assert [word for word in words if word.startswith("--") and word not in explained] == []


def test_a_command_starts_without_what_it_does_not_need():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "demo.bench", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "sight" in done.stdout and "torch" not in done.stderr


def test_every_file_and_folder_named_is_there():
    tree = re.findall(r"^(\S+/|\S+\.py) {2,}", README, flags=re.MULTILINE)
    links = re.findall(r"`((?:checkpoints|assets|demo|tests|docs)/[^`\s]*)`", DOCUMENTS)
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert tree and pictures
    assert [name for name in (*tree, *links, *pictures) if not (ROOT / name).exists()] == []


def test_the_tree_shows_every_folder_of_the_program():
    lines = re.findall(r"^((?:demo/\w+/ )+) ", README, flags=re.MULTILINE)
    shown = set(re.findall(r"demo/(\w+)/", " ".join(lines)))
    there = {path.parent.name for path in (ROOT / "demo").glob("*/__init__.py")}
    assert there and shown == there


def test_readme_is_read_in_one_go():
    assert len(README.splitlines()) <= 150


def test_the_command_for_a_space_is_one_that_hf_understands():
    """Its flags, and that the largest files are what README says a plain push is refused for."""
    (command,) = re.findall(r"^hf upload .*$", README, flags=re.MULTILINE)
    assert command == "hf upload USER/SPACE . --repo-type space"
    script = "import sys; from huggingface_hub.cli.hf import main; sys.exit(main())"
    explained = subprocess.run(
        [sys.executable, "-c", script, "upload", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "--repo-type" in explained and "space" in explained
    weights = (ROOT / "checkpoints").rglob("*.safetensors")
    assert sum(path.stat().st_size > 10_000_000 for path in weights) == 3
