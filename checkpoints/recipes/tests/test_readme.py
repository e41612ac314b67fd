"""What `checkpoints/README.md` says of recipes holds: their commands, files and requirements."""

import re
import runpy
import sys

import pytest

from demo.settings import ROOT

README = (ROOT / "checkpoints" / "README.md").read_text("utf-8")
COMMANDS = re.findall(
    r"python -m (checkpoints\.recipes[^`\n]*(?:\n +--[^`\n]*)*)", README.replace("\\\n", "\n")
)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")  # by another test
@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_a_command_exists_with_its_flags(command, monkeypatch, capsys):
    module, *words = command.split()
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    assert stop.value.code == 0
    explained = capsys.readouterr().out
    assert [word for word in words if word.startswith("--") and word not in explained] == []


def test_every_file_named_is_there():
    named = re.findall(r"`(checkpoints/[^`\s*]*)`", README)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_deleted_recipes_are_named_with_their_tag_and_are_not_here():
    assert "tag `weights-2026-11` (commit `e91d59b`)" in " ".join(README.split())
    files = {path.stem for path in (ROOT / "checkpoints" / "recipes").rglob("*.py")}
    deleted = {"shapes", "carried", "sight_fit", "convolution", "pace", "counterfactual", "doodles"}
    assert all(f"`{name}`" in README for name in deleted)
    assert not files & deleted


def test_the_tests_install_what_the_recipes_need():
    def lines(name: str) -> set[str]:
        text = (ROOT / name).read_text("utf-8")
        return {line for line in text.splitlines() if line and not line.startswith("#")}

    assert lines("checkpoints/recipes/requirements.txt") <= lines("tests/requirements.txt")
