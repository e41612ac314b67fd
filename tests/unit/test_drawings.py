"""Icon sets become pictures, kept once, and their views keep what is drawn."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.recipes import drawings as recipe
from demo.recipes.drawings import SIDE, drawings, fetch, svg
from demo.recipes.views import (
    coloured,
    drawing_views,
    photograph_views,
    plain_grounds,
    tinted,
    worn,
)

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


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


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


def test_a_drawing_stays_in_view() -> None:
    rgba = torch.zeros(100, 4, 32, 32, dtype=torch.uint8)
    rgba[:, 0, 8:24, 8:24] = rgba[:, 3, 8:24, 8:24] = 255
    views = drawing_views(rgba, torch.ones(100, 3, 8, 8), 48, chance())
    assert views.shape == (100, 3, 48, 48)
    red = (views[:, 0] > 0.9) & (views[:, 1] < 0.1)
    share = red.float().mean((1, 2))
    assert float(share.min()) > 0.05
    assert torch.equal(views, drawing_views(rgba, torch.ones(100, 3, 8, 8), 48, chance()))


def test_what_is_black_alone_gets_a_colour() -> None:
    rgba = torch.zeros(60, 4, 8, 8, dtype=torch.uint8)
    rgba[:, 3, 2:6, 2:6] = 255
    rgba[30:, 0, 3, 3] = 200  # not black alone
    found = coloured(rgba, chance())
    assert torch.equal(found[30:], rgba[30:])
    assert torch.equal(found[:, 3], rgba[:, 3])
    painted = found[:30, :3, 3, 3].any(1)
    assert 10 < int(painted.sum()) < 28
    assert not found[:, :3, 0, 0].any()


def test_looks_are_pictures() -> None:
    pixels = torch.randint(256, (40, 3, 64, 64), generator=chance()).to(torch.uint8)
    views = photograph_views(pixels, 48, chance())
    worn_out = worn(tinted(views, chance()), chance())
    grounds = plain_grounds(40, chance())
    for found in (views, worn_out, grounds):
        assert (float(found.min()) >= 0, float(found.max()) <= 1) == (True, True)
    assert worn_out.shape == (40, 3, 48, 48)
    assert torch.equal(worn_out, worn(tinted(views, chance()), chance()))
    assert not np.allclose(worn_out, views)
