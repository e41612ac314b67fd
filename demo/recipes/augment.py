"""Other looks at the same pictures, none of which makes a caption untrue."""

import torch
import torch.nn.functional as F
from torch import Tensor

MARGIN = 0.35  # how far a window may reach outside the picture, in picture widths
UNTOUCHED = 0.3  # share of pictures shown as they are
STRETCH = 1.6  # a window is at most this much wider than high, or higher than wide


def border_colour(pixels: Tensor) -> Tensor:
    """The median colour along the four edges, (B, 3, 1, 1), of `pixels` (B, 3, P, P)."""
    edges = pixels[:, :, 0], pixels[:, :, -1], pixels[:, :, :, 0], pixels[:, :, :, -1]
    edge = torch.cat(edges, 2)  # (B, 3, 4 P)
    return edge.median(2).values[:, :, None, None]


def content_boxes(pixels: Tensor) -> Tensor:
    """What differs from the border colour: (B, 2, 2) as [axis x, y][start, end] in 0 to 1.

    In a scene on a plain background that is the object; in a photograph, the whole picture, which
    is then never cropped.
    """
    strange = (pixels.int() - border_colour(pixels).int()).abs().amax(1) > 12  # (B, P, P)
    size, boxes = pixels.shape[-1], []
    for along in (strange.any(1), strange.any(2)):  # columns with content, rows with content
        hit = along.int()
        start = hit.argmax(1)
        end = size - hit.flip(1).argmax(1)
        boxes.append(torch.stack([start, end], 1) / size)
    return torch.stack(boxes, 1)


def random_views(pixels: Tensor, boxes: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 3, P, P) uint8 pictures -> (B, 3, P, P) fp32 in 0 to 1: moved, scaled, flipped, tinted.

    Each view is a random window that holds the whole content box, so nothing named by a caption is
    cut away; outside the picture it continues in the border colour. Colours move by less than a
    tenth, far less than between any two named colours.
    """
    count = len(pixels)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator, device=generator.device)

    start = -MARGIN + uniform(2) * (boxes[:, :, 0] + MARGIN)
    end = boxes[:, :, 1] + uniform(2) * (1 + MARGIN - boxes[:, :, 1])
    centre, extent = (start + end) / 2, end - start
    extent = torch.maximum(extent, extent.amax(1, keepdim=True) / STRETCH)
    keep = uniform(1) < UNTOUCHED
    centre, extent = torch.where(keep, 0.5, centre), torch.where(keep, 1.0, extent)

    mirror = torch.where(uniform(2) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3, device=pixels.device)
    theta[:, 0, 0], theta[:, 1, 1] = (extent * mirror).unbind(1)
    theta[:, :, 2] = 2 * centre - 1
    plain = border_colour(pixels).float() / 255
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    views = F.grid_sample(pixels.float() / 255 - plain, grid, align_corners=False) + plain

    gain, shift = 0.93 + 0.14 * uniform(3, 1, 1), 0.06 * (uniform(3, 1, 1) - 0.5)
    noise = torch.randn(views.shape, generator=generator, device=generator.device)
    noise = noise * 0.02 * uniform(1, 1, 1)
    return (views * gain + shift + noise).clamp(0, 1)
