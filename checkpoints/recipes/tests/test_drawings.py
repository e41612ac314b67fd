"""Icon sets become pictures, kept once."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from checkpoints.recipes.data import drawings as recipe
from checkpoints.recipes.data.drawings import SIDE, drawings, fetch, svg

ICONS = {
    "prefix": "tiny",
    "width": 32,
    "height": 16,
    "icons": {
        "cat": {"body": '<rect width="32" height="16" fill="#f00"/>'},
        "tree": {"body": "<g/>", "width": 8, "height": 8, "left": 2},
    },
    "aliases": {"lion": {"parent": "cat"}},
}


def test_an_icon_is_a_whole_file() -> None:
    assert 'viewBox="0 0 32 16"' in svg(ICONS, "cat")
    assert svg(ICONS, "lion") == svg(ICONS, "cat")
    assert 'viewBox="2 0 8 8"' in svg(ICONS, "tree")
    assert svg(ICONS, "dog") is None


def package(folder: Path) -> str:
    """A package as `npm pack` leaves it, so that npm is not asked."""
    data = json.dumps(ICONS).encode()
    with tarfile.open(folder / "tiny-icons-1.0.0.tgz", "w:gz") as files:
        entry = tarfile.TarInfo("package/icons.json")
        entry.size = len(data)
        files.addfile(entry, io.BytesIO(data))
    return "@tiny/icons@1.0.0"


def test_a_package_that_is_there_is_read(tmp_path: Path) -> None:
    assert fetch(package(tmp_path), tmp_path) == ICONS


def test_the_command_keeps_what_it_drew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(recipe, "STYLES", {"tiny": package(tmp_path)})
    monkeypatch.setattr(recipe, "UNSEEN", {})
    recipe.main(["--out", str(tmp_path)])
    assert capsys.readouterr().out == "tiny: 2 drawings\n"
    found = drawings(tmp_path, "tiny")
    assert (found.icons, found.rgba.shape) == (("cat", "lion"), (2, SIDE, SIDE, 4))
    middle, edge = found.rgba[0, SIDE // 2, SIDE // 2], found.rgba[0, 0, 0]
    assert middle.tolist() == [255, 0, 0, 255]
    assert edge[3] == 0  # twice as wide as high: nothing above and below
