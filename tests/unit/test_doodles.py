"""The page's sample drawings are what their recipe draws."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.recipes.doodles import DOODLES, SIDE, draw, main

SAMPLES = Path(__file__).parents[2] / "assets" / "samples"


@pytest.mark.parametrize("name", DOODLES)
def test_a_shipped_drawing_is_the_recipes(name: str, tmp_path: Path) -> None:
    main(["--out", str(tmp_path)])
    with (
        Image.open(SAMPLES / f"{name}.png") as shipped,
        Image.open(tmp_path / f"{name}.png") as new,
    ):
        assert shipped.size == (SIDE, SIDE)
        both = [np.asarray(image.convert("RGB"), np.int16) for image in (shipped, new)]
    # Smooth edges may differ by a shade where another Pillow draws them.
    assert np.abs(both[0] - both[1]).mean() < 1


def test_forms_lie_one_over_the_other_on_the_ground() -> None:
    forms = (("rectangle", "#ff0000", (0, 0, 0.5, 1)), ("ellipse", "#0000ff", (0, 0, 0.5, 0.5)))
    rgb = np.asarray(draw(forms, "#00ff00"))
    assert rgb[SIDE // 4, SIDE // 4].tolist() == [0, 0, 255]
    assert rgb[SIDE * 3 // 4, SIDE // 4].tolist() == [255, 0, 0]
    assert rgb[SIDE // 2, SIDE * 3 // 4].tolist() == [0, 255, 0]
