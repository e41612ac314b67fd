"""Other looks at photographs and drawings, on whole batches: what a visitor's picture may be like.

Every function takes its own random generator; the same state gives the same views. All of it runs
where generator and pictures are, and nothing waits for the device.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from demo.recipes.jpeg import saved_as_jpeg

SMALLEST = 0.3  # of a photograph's area that a window shows
ASPECT = 0.29  # log of how much wider than high a window is, at most
BLURRED, JPEG, GREY, HIDDEN = 0.15, 0.08, 0.05, 0.3  # shares of pictures
SHRUNK = 0.25, 0.4, 0.55, 0.7  # sides of the blurred ones
OUTLINED, RECOLOURED = 0.35, 0.6  # of drawings, of those in black alone


def photograph_views(pixels: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """(B, 3, P, P) uint8 -> (B, 3, side, side) fp32 in 0 to 1: random windows, mirrored."""
    count = len(pixels)
    area = SMALLEST + (1 - SMALLEST) * _uniform(generator, count)
    skew = ((_uniform(generator, count) * 2 - 1) * ASPECT).exp().sqrt()
    extent = torch.stack([area.sqrt() * skew, area.sqrt() / skew], 1).clamp(max=1)  # x, y
    centre = (_uniform(generator, count, 2) * 2 - 1) * (1 - extent)
    return _windows(pixels.float() / 255, side, extent, centre, torch.zeros_like(area), generator)


def drawing_views(rgba: Tensor, grounds: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """(B, 4, P, P) uint8 on grounds (B, 3, p, p) fp32 -> (B, 3, side, side) fp32 in 0 to 1.

    A drawing is moved, scaled, turned by up to 20 degrees and mirrored; some get a dark outline.
    """
    count = len(rgba)
    extent = (0.9 + 0.7 * _uniform(generator, count, 1)).expand(-1, 2)  # above 1: smaller
    extent = extent * (1 + 0.2 * (_uniform(generator, count, 2) - 0.5))
    centre = (_uniform(generator, count, 2) * 2 - 1) * (extent - 0.85).clamp(min=0.05) * 0.7
    angle = (_uniform(generator, count) * 2 - 1) * 0.35
    pixels = rgba.float() / 255
    pixels = torch.cat([pixels[:, :3] * pixels[:, 3:], pixels[:, 3:]], 1)  # premultiplied
    views = _windows(pixels, side, extent, centre, angle, generator)
    colour, alpha = views[:, :3], views[:, 3:].clamp(0, 1)
    width = max(1, side // 48)
    wider = F.max_pool2d(alpha, 2 * width + 1, 1, width)
    drawn = _share(generator, count, OUTLINED)
    wider = torch.where(drawn, wider, alpha)
    ground = F.interpolate(grounds, (side, side), mode="bilinear", align_corners=False)
    # Where only the outline reaches, `colour` is black already.
    return (colour + ground * (1 - wider)).clamp(0, 1)


def coloured(rgba: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 4, P, P) uint8: some of those that are all black in another colour."""
    count = len(rgba)
    black = (rgba[:, :3].amax((1, 2, 3)) == 0).view(-1, 1, 1, 1)
    colour = (256 * _uniform(generator, count, 3, 1, 1)).to(torch.uint8)
    painted = torch.where(rgba[:, 3:] > 0, colour, rgba[:, :3])
    chosen = black & _share(generator, count, RECOLOURED)
    return torch.cat([torch.where(chosen, painted, rgba[:, :3]), rgba[:, 3:]], 1)


def plain_grounds(count: int, generator: torch.Generator) -> Tensor:
    """Backgrounds (B, 3, 8, 8) fp32: white, one colour, or running from one to another."""
    start, end = _uniform(generator, 2, count, 3, 1, 1).sqrt()
    end = torch.where(_share(generator, count, 0.5), start, end)
    start, end = (torch.where(_share(generator, count, 0.4), 1.0, c) for c in (start, end))
    ramp = torch.linspace(0, 1, 8, device=generator.device)
    across = _share(generator, count, 0.5)
    ramp = torch.where(across, ramp.view(1, 1, 1, 8), ramp.view(1, 1, 8, 1))
    return start + (end - start) * ramp


def tinted(views: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """Brightness, contrast, saturation and white balance changed; a few are grey."""
    count = len(views)

    def around(width: float, *shape: int) -> Tensor:
        return 1 + strength * width * (2 * _uniform(generator, count, *shape) - 1)

    grey = views.mean(1, keepdim=True)
    saturation = torch.where(_share(generator, count, GREY * strength), 0, around(0.4, 1, 1, 1))
    views = grey + (views - grey) * saturation
    middle = views.mean((1, 2, 3), keepdim=True)
    views = middle + (views - middle) * around(0.35, 1, 1, 1)
    return (views * around(0.3, 1, 1, 1) * around(0.08, 3, 1, 1)).clamp(0, 1)


def worn(views: Tensor, generator: torch.Generator) -> Tensor:
    """Some blurred by scaling down and up, some saved as poor JPEGs, some partly hidden."""
    count, side = len(views), views.shape[-1]
    views = views.clone()
    order = torch.randperm(count, generator=generator, device=generator.device)
    ends = [round(count * share) for share in (BLURRED, BLURRED + JPEG)]
    blurred, pressed, hidden = order.tensor_split(ends)
    for rows, share in zip(blurred.tensor_split(len(SHRUNK)), SHRUNK, strict=True):
        if len(rows):
            small = max(12, round(side * share))
            shrunk = F.interpolate(views[rows], (small, small), mode="area")
            views[rows] = F.interpolate(shrunk, (side, side), mode="bilinear")
    if len(pressed):
        quality = 15 + 60 * _uniform(generator, len(pressed))
        views[pressed] = saved_as_jpeg(views[pressed], quality)
    hidden = hidden[: round(count * HIDDEN)]
    low = (_uniform(generator, len(hidden), 2) * side * 0.8).long()
    high = low + (side * (0.15 + 0.3 * _uniform(generator, len(hidden), 2))).long()
    mask = boxes(low, high, side)
    views[hidden] = torch.where(mask, _uniform(generator, len(hidden), 3, 1, 1), views[hidden])
    return views


def boxes(low: Tensor, high: Tensor, side: int) -> Tensor:
    """From `low` (B, 2) up to `high` (B, 2), rows before columns → (B, 1, side, side) bool."""
    at = torch.arange(side, device=low.device)
    inside = (at >= low[..., None]) & (at < high[..., None])  # (B, 2, side)
    return (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None]


def _windows(
    pixels: Tensor,
    side: int,
    extent: Tensor,
    centre: Tensor,
    angle: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """The part of (B, C, P, P) around `centre` (B, 2), -1 to 1, that `extent` (B, 2) is long."""
    mirror = torch.where(_share(generator, len(pixels), 0.5).view(-1), -1.0, 1.0)
    sine, cosine = angle.sin(), angle.cos()
    theta = torch.zeros(len(pixels), 2, 3, device=pixels.device)
    theta[:, 0, 0], theta[:, 0, 1] = extent[:, 0] * mirror * cosine, -extent[:, 0] * sine
    theta[:, 1, 0], theta[:, 1, 1] = extent[:, 1] * mirror * sine, extent[:, 1] * cosine
    theta[:, :, 2] = centre
    shape = [len(pixels), pixels.shape[1], side, side]
    grid = F.affine_grid(theta, shape, align_corners=False)
    return F.grid_sample(pixels, grid, align_corners=False)


def _uniform(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator, device=generator.device)


def _share(generator: torch.Generator, count: int, share: float) -> Tensor:
    """(B, 1, 1, 1) bool, true for about that share."""
    return _uniform(generator, count, 1, 1, 1) < share
