"""The rules of the layout: imports run one way, heavy or foreign things stay where they belong."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "demo").rglob("*.py"))
# A folder may import from those before it and from itself.
ORDER = ("llama", "vision", "adapter", "chat", "finetune")
FLOORS = {
    "torch": (2, 10),
    "gradio": (6, 25),
    "starlette": (1, 3, 1),
    "python-multipart": (0, 0, 30),
    "Pillow": (12, 3),
    "av": (18, 1),
    "safetensors": (0, 8),
    "sentencepiece": (0, 2, 1),
    "transformers": (5, 10),
}


def imported(path: Path) -> set[str]:
    """Modules a file imports anywhere, those for type checkers alone left out."""
    tree = ast.parse(path.read_text("utf-8"))
    found = set()
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def parts(path: Path) -> tuple[str, ...]:
    return path.relative_to(ROOT).with_suffix("").parts


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(parts(path)))
def test_imports_run_one_way(path):
    folder = parts(path)[1]
    modules = imported(path)
    # `__main__` is a program, as app.py is: it puts the parts of all layers together.
    if folder in ORDER and path.name != "__main__.py":
        allowed = ORDER[: ORDER.index(folder) + 1]
        # Training and chatting do not know each other.
        allowed = [name for name in allowed if not (folder == "finetune" and name == "chat")]
        for module in modules:
            match = re.match(r"demo\.(\w+)\.", module)
            assert not match or match[1] in allowed, module
            assert module not in ("demo.runtime", "demo.models"), module
    if folder != "ui":
        assert not any(m == "gradio" or m.startswith("gradio.") for m in modules)
        assert folder == "bench" or not any(m.startswith("demo.ui") for m in modules)
    else:
        assert not any(m.split(".")[0] in ("torch", "numba", "transformers") for m in modules)


def test_importing_does_nothing():
    """No output, no thread, no file, and for the page's sake neither torch nor numba."""
    light = ["demo.runtime", "demo.settings", "demo.adapter.library", "demo.finetune.runs", "app"]
    code = (
        "import sys, threading\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"import {', '.join(light)}\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "heavy = {'torch', 'numba', 'transformers', 'open_clip', 'gradio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_files_stay_readable():
    long = {str(p.relative_to(ROOT)): len(p.read_text("utf-8").splitlines()) for p in FILES}
    assert {name: lines for name, lines in long.items() if lines > 330} == {}


@pytest.mark.parametrize(("package", "floor"), FLOORS.items())
def test_no_package_is_older_than_its_last_known_fault(package, floor):
    from importlib.metadata import version

    numbers = tuple(int(n) for n in re.findall(r"\d+", version(package))[:3])
    assert numbers >= floor
