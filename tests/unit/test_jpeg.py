"""Pictures look as Pillow's JPEGs of the same quality do."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from demo.recipes.jpeg import saved_as_jpeg


def pillow(view: torch.Tensor, quality: int) -> torch.Tensor:
    pixels, file = (view * 255).round().to(torch.uint8), io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(
        file, "JPEG", quality=quality
    )
    with Image.open(file) as picture:
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255


@pytest.mark.parametrize("side", [32, 40, 57])
@pytest.mark.parametrize("quality", [15, 40, 75])
def test_as_pillow_saves_it(side: int, quality: int) -> None:
    chance = torch.Generator().manual_seed(0)
    rough = torch.rand(2, 3, 6, 6, generator=chance)
    views = torch.nn.functional.interpolate(rough, (side, side), mode="bilinear")
    views = (views + 0.05 * torch.randn(views.shape, generator=chance)).clamp(0, 1)
    found = saved_as_jpeg(views, torch.full((2,), float(quality)))
    expected = torch.stack([pillow(view, quality) for view in views])
    assert found.shape == views.shape
    assert float((found - expected).abs().mean()) < 0.25 * float((views - expected).abs().mean())


def test_each_picture_has_its_own_quality() -> None:
    light = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    views = light.expand(2, 3, -1, -1)
    poor, good = saved_as_jpeg(views, torch.tensor([10.0, 90.0]))
    assert float((good - views[0]).abs().mean()) < 0.5 * float((poor - views[0]).abs().mean())
