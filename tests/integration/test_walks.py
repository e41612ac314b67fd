"""The three roads through the program are as short as we say, and drawn as they are."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.walks import BARS, ROOT

DRAWN = Path(ROOT) / "docs" / "architecture.md"


@pytest.mark.parametrize(
    "name", ["chat", "weights", pytest.param("teach", marks=pytest.mark.nightly)]
)
def test_a_road_is_short_and_drawn_as_it_is(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.walks", name, "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    walk = json.loads(done.stdout.splitlines()[-1])
    files, returns = BARS[name]
    assert len(walk["files"]) <= files
    assert returns is None or walk["returns"] <= returns
    # In teaching two processes work beside each other, and either may be first in a file.
    assert sorted(drawn(name)) == sorted(walk["files"])
    assert name == "teach" or drawn(name) == walk["files"]


def test_the_long_road_is_short_and_drawn_through_files_that_are_there() -> None:
    files = drawn("teach")
    assert 30 < len(files) <= BARS["teach"][0]
    assert [file for file in files if not (Path(ROOT) / file).is_file()] == []


def drawn(name: str) -> list[str]:
    """The files of a walk's drawing, in their order."""
    section = DRAWN.read_text("utf-8").split(f"<!-- walk {name} -->")[1].split("<!-- /walk")[0]
    return [f"demo/{file}" for file in re.findall(r'n\d+\["\d+ ([\w./]+)"\]', section)]
