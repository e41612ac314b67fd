"""What the documents at the root name is there."""

import ast
import re

import pytest

from demo.settings import ROOT

PLACES = 10  # that a newcomer is told how to find
PATH = re.compile(r"`((?:\.ci|\.github|app\.py|assets|checkpoints|demo|docs|tests)(?:/[\w./-]*)?)`")
NAMED = re.compile(r"`(\w+)` (?:of|in) `(demo/[\w/.]+\.py)`")
TREE = re.compile(r"^((?:demo|tests|docs|assets|checkpoints)/[\w/.]*)(?: (demo/[\w/.]*))?  ", re.M)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
DOCUMENTS = (
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "NOTICE"),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
)


def tree_of(text: str) -> set[str]:
    """The paths at the beginnings of lines of a drawn tree."""
    return {path for line in TREE.findall(text) for path in line if path}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_named_exists(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    named = [*PATH.findall(text), *tree_of(text)]
    assert [path for path in named if not (ROOT / path).exists()] == []
    beside = (ROOT / name).parent
    assert [link for link in LINK.findall(text) if not (beside / link).exists()] == []


def test_the_tree_in_the_readme_names_every_folder_of_the_program() -> None:
    tree = tree_of((ROOT / "README.md").read_text("utf-8"))
    folders = {f"demo/{path.parent.name}/" for path in (ROOT / "demo").glob("*/__init__.py")}
    assert folders <= tree, folders - tree


def test_ten_places_are_two_clicks_from_demo() -> None:
    """Two folders are opened at most, and then the file is in sight."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    places = re.findall(r"^\| where .*\| `(demo/[^`]+)` \|$", text, flags=re.MULTILINE)
    assert len(places) == len(set(places)) == PLACES
    assert [place for place in places if not (ROOT / place).is_file()] == []
    assert [place for place in places if place.count("/") > 3] == []


def test_every_name_is_defined_where_it_is_said_to_be() -> None:
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text("utf-8").split())
    named = NAMED.findall(text)
    assert len(named) >= 5
    for name, path in named:
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        defined = {getattr(node, "name", None) for node in tree.body}
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            defined |= {target.id for target in targets if isinstance(target, ast.Name)}
        assert name in defined, (name, path)
