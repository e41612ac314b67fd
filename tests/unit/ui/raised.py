"""What the program's errors say, read from its source: each message that a `raise` can have.

What is filled in at run time stands as "7". A name is looked up where it is assigned, in the
function or at the top of the file; both branches of a choice are told.
"""

import ast
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from demo.settings import ROOT

GAP = "7"
# Nothing of these reaches the page: measurements, and what a command line alone can ask for.
OFF_THE_PAGE = (
    "bench/", "paper/", "finetune/__main__", "finetune/data/folder", "finetune/data/hub",
    "adapter/export",
)  # fmt: skip
Names = Mapping[str, Sequence[ast.expr]]


def raised() -> Iterator[tuple[str, str]]:
    """Give (file and line, message) of all errors that a visitor may see."""
    sources = {p: p.read_text("utf-8") for p in sorted((ROOT / "demo").rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in sources.items()}
    errors = _kinds(trees)
    for path, tree in trees.items():
        place = path.relative_to(ROOT / "demo").as_posix()
        if not place.startswith(OFF_THE_PAGE):
            for line, message in _of(tree, errors):
                yield f"{place}:{line}", message


def _kinds(trees: Mapping[Path, ast.Module]) -> set[str]:
    """Give the names of `DemoError` and of all that inherit from it."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = {"DemoError"}
    while more := {name for name, above in bases.items() if found & above} - found:
        found |= more
    return found


def _of(tree: ast.Module, errors: set[str]) -> Iterator[tuple[int, str]]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    top = _assigned(tree.body)
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            continue
        if call.func.id not in errors or not call.args:
            continue
        around = [f for f in functions if f.lineno <= call.lineno <= (f.end_lineno or 0)]
        if any(function.name == "main" for function in around):
            continue
        scopes = [*(_assigned(ast.walk(f)) for f in reversed(around)), top]
        for text in _texts(call.args[0], scopes):
            # A whole sentence is filled in where the next begins with a capital.
            yield call.lineno, re.sub(rf"(^|[: ]){GAP} (?=[A-Z])", rf"\g<1>{GAP}. ", text)


def _assigned(nodes: Iterator[ast.AST] | Sequence[ast.AST]) -> Names:
    found: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return found


def _texts(node: ast.expr, scopes: Sequence[Names], depth: int = 0) -> list[str]:
    """Give all texts that an expression can be."""

    def texts(inner: ast.expr) -> list[str]:
        return _texts(inner, scopes, depth + 1)

    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.FormattedValue):
        plain = isinstance(node.value, ast.IfExp | ast.Name | ast.Constant)
        return texts(node.value) if plain else [GAP]
    if isinstance(node, ast.JoinedStr):
        return ["".join(parts) for parts in itertools.product(*map(texts, node.values))]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return ["".join(two) for two in itertools.product(texts(node.left), texts(node.right))]
    if isinstance(node, ast.IfExp):
        return [*texts(node.body), *texts(node.orelse)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        told = texts(node.func.value) if node.func.attr == "format" else [GAP]
        return [re.sub(r"\{[^}]*\}", GAP, text) for text in told]
    if isinstance(node, ast.Name) and depth < 6:
        known = [value for scope in scopes for value in scope.get(node.id, ())]
        return [text for value in known for text in texts(value)] or [GAP]
    return [GAP]
