"""What saving as a JPEG does to pictures, for whole batches and on any device (ITU-T T.81).

torchvision's encoder has one quality for all pictures and hands back files, which then have to be
read: a GPU would wait for both. Here each picture has its own, and nothing leaves the device.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8
# Tables K.1 and K.2 of the standard: how coarsely each frequency is kept at quality 50.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# JFIF, section 7: R, G, B to luminance and two colour differences.
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def saved_as_jpeg(views: Tensor, quality: Tensor) -> Tensor:
    """(B, 3, P, P) fp32 in 0 to 1 as files of `quality` (B,), 1 to 99, show them; same shape.

    Colours at half the resolution, as cameras and libjpeg save them. Only the rounding is done:
    what comes after it loses nothing.
    """
    side = views.shape[-1]
    padded = F.pad(views, (0, -side % (2 * BLOCK), 0, -side % (2 * BLOCK)), mode="replicate")
    mix = torch.tensor(TO_YCC)
    there, back = (m.to(views.device, non_blocking=True) for m in (mix, torch.linalg.inv(mix)))
    planes = torch.einsum("ij,bjhw->bihw", there, padded * 255)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100  # libjpeg's
    light = _rounded(planes[:, :1] - 128, LUMINANCE, scale) + 128
    colour = _rounded(F.avg_pool2d(planes[:, 1:], 2), CHROMINANCE, scale)
    colour = F.interpolate(colour, scale_factor=2, mode="bilinear", align_corners=False)
    seen = torch.einsum("ij,bjhw->bihw", back, torch.cat([light, colour], 1))
    return (seen[..., :side, :side] / 255).clamp(0, 1)


def _rounded(planes: Tensor, table: tuple[tuple[int, ...], ...], scale: Tensor) -> Tensor:
    """Planes (B, C, H, W) with the frequencies of each block of 8 x 8 rounded."""
    count, channels, high, wide = planes.shape
    blocks = planes.view(count, channels, high // BLOCK, BLOCK, wide // BLOCK, BLOCK)
    cosines = _cosines(planes.device)
    waves = torch.einsum("uy,bcmynx,vx->bcmunv", cosines, blocks, cosines)
    steps = torch.tensor(table, dtype=planes.dtype).to(planes.device, non_blocking=True)
    steps = (steps * scale.view(-1, 1, 1)).round().clamp(1, 255)  # (B, 8, 8)
    steps = steps[:, None, None, :, None, :]
    waves = (waves / steps).round() * steps
    back = torch.einsum("uy,bcmunv,vx->bcmynx", cosines, waves, cosines)
    return back.reshape(planes.shape)


def _cosines(device: torch.device) -> Tensor:
    """The orthonormal cosine transform of 8 numbers, (8, 8)."""
    at = torch.arange(BLOCK, device=device, dtype=torch.float32)
    waves = torch.cos((2 * at + 1) * at[:, None] * torch.pi / (2 * BLOCK)) * (2 / BLOCK) ** 0.5
    waves[0] *= 0.5**0.5
    return waves
