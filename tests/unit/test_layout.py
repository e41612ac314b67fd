"""The rules of the layout: imports run one way, heavy or foreign things stay where they belong."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from demo.settings import ROOT

FILES = sorted((ROOT / "demo").rglob("*.py"))
RECIPES = sorted((ROOT / "checkpoints" / "recipes").rglob("*.py"))
MODULES = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (*FILES, *RECIPES)}
# A module may import from its own line and from those before it. The longest prefix counts.
ORDER = (
    (
        "demo.errors",
        "demo.atomic_file",
        "demo.background_task",
        "demo.settings",
        "demo.charts",
        "demo.logs",
        "demo.memory",
        "demo.temporary_folder",
    ),
    ("demo.llama.config", "demo.llama.tokenizer"),
    ("demo.llama.kernels",),
    ("demo.llama.int8",),
    ("demo.llama.weights",),
    ("demo.llama",),
    ("demo.vision",),
    ("demo.questions",),
    ("demo.adapter",),
    ("demo.finetune.data", "demo.chat"),
    ("demo.model_loading", "demo.finetune.train"),
    ("demo.finetune.runs",),
    ("demo.finetune.__main__",),
    ("demo.teaching",),
    ("demo.runtime",),
    ("demo.ui", "demo.bench", "checkpoints.recipes"),
    ("demo.paper",),
)
# What does not follow from the order: pairs that do not know each other.
STRANGERS = (("demo.chat", "demo.finetune"), ("demo.finetune.data", "demo.chat"))
SHORTEST, LONGEST = 40, 450  # lines of a file that is not an `__init__` or a `__main__`
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
    """Modules a file imports anywhere, those for type checkers alone too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & MODULES) or {node.module}
    return found


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def below(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


def level(module: str) -> int:
    """The line of ORDER that a module belongs to."""
    places = [(len(p), at) for at, line in enumerate(ORDER) for p in line if below(module, p)]
    assert places, f"{module} has no place in ORDER"
    return max(places)[1]


@pytest.mark.parametrize("path", [*FILES, *RECIPES], ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    module, modules = name_of(path), imported(path)
    if path.name != "__init__.py" and "tests" not in path.parts:
        for other in modules & MODULES:
            assert level(other) <= level(module), other
            assert not any(below(module, a) and below(other, b) for a, b in STRANGERS), other
    if not below(module, "demo.ui"):
        assert not any(m == "gradio" or m.startswith(("gradio.", "demo.ui")) for m in modules)
    else:
        assert not any(m.split(".")[0] in ("torch", "numba", "transformers") for m in modules)
    if not path.is_relative_to(ROOT / "checkpoints") and not below(module, "demo.bench"):
        assert not any(m.startswith("checkpoints") for m in modules)


def test_tests_mirror_the_tree() -> None:
    """`test_config.py`, or `test_config_sizes.py`, lies where `config.py` or `config/` does."""
    top = {"app", "layout", "packaging", "documents"}  # about files at the root
    lost = []
    for path in sorted((ROOT / "tests" / "unit").rglob("test_*.py")):
        folder = ROOT / "demo" / path.parent.relative_to(ROOT / "tests" / "unit")
        words = path.stem.removeprefix("test_").split("_")
        names = {"_".join(words[:count]) for count in range(1, len(words) + 1)}
        known = {p.stem for p in folder.glob("*") if p.suffix in (".py", "")}
        if not names & (known | (top if folder == ROOT / "demo" else set())):
            lost.append(str(path.relative_to(ROOT)))
    assert lost == []


def test_imports_have_no_circle() -> None:
    arrows = {name_of(p): imported(p) & MODULES for p in (*FILES, *RECIPES)}
    while free := {module for module, needed in arrows.items() if not needed}:
        arrows = {m: needed - free for m, needed in arrows.items() if m not in free}
    assert arrows == {}


def test_importing_does_nothing() -> None:
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


def test_files_hold_one_idea() -> None:
    """Neither so long that it is several, nor so short that it is a hop."""
    lines = {
        str(p.relative_to(ROOT)): len(p.read_text("utf-8").splitlines())
        for p in (*FILES, *RECIPES)
        if p.name not in ("__init__.py", "__main__.py") and "tests" not in p.parts
    }
    assert {name: n for name, n in lines.items() if not SHORTEST <= n <= LONGEST} == {}


@pytest.mark.parametrize(("package", "floor"), FLOORS.items())
def test_no_package_is_older_than_its_last_known_fault(
    package: str, floor: tuple[int, ...]
) -> None:
    from importlib.metadata import version

    numbers = tuple(int(n) for n in re.findall(r"\d+", version(package))[:3])
    assert numbers >= floor


def test_a_class_name_means_one_thing() -> None:
    """No class, and no alias of a type, is defined twice in the program and the recipes."""
    places: dict[str, list[str]] = {}
    for path in (*FILES, *RECIPES):
        if "tests" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name_of(path))
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            for target in targets:
                if isinstance(target, ast.Name) and re.fullmatch(r"(?:[A-Z]+[a-z]+)+", target.id):
                    places.setdefault(target.id, []).append(name_of(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
