"""Basic colours of the thing in a picture, counted in its pixels: a tower does not tell them."""

import numpy as np
from PIL import Image

# The eleven basic colours of English (Berlin and Kay 1969), by American spelling.
BASIC_COLOURS = (
    "black", "white", "gray", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown",
)  # fmt: skip
BLACK, WHITE, GRAY, RED, PURPLE, PINK, BROWN = 0, 1, 2, 3, 8, 9, 10
HUES = ((14, RED), (40, 4), (68, 5), (165, 6), (255, 7), (295, PURPLE), (345, PINK))  # ends
COLOUR_SIDE = 48  # pixels that colours are counted in
ALIKE = 20  # of 255, by which pixels of one ground differ
PLAIN = 0.7  # of the edge is of one colour where the ground is
LEAST_THING = 0.01  # of the pixels; less is no thing on a ground
NEAR = 0.2  # of a side, how far from the middle a thing is looked for


def colour_shares(rgb: np.ndarray) -> np.ndarray:
    """Count the basic colours of the thing in a picture: (H, W, 3) uint8 → shares (11,) fp32.

    On a plain ground the thing is all else; on any other it is looked for in the middle.
    """
    small = Image.fromarray(rgb).resize((COLOUR_SIDE,) * 2, Image.Resampling.BOX)
    pixels = np.asarray(small).astype(np.float32)
    edge = np.concatenate([pixels[:2], pixels[-2:]]).reshape(-1, 3)
    sides = np.concatenate([pixels[:, :2], pixels[:, -2:]], 1).reshape(-1, 3)
    edge = np.concatenate([edge, sides])
    ground = np.median(edge, 0)
    plain = np.abs(edge - ground).max(1) < ALIKE
    thing = np.abs(pixels - ground).max(2) >= 2 * ALIKE
    if plain.mean() < PLAIN or thing.mean() < LEAST_THING:
        place = (np.arange(COLOUR_SIDE) + 0.5) / COLOUR_SIDE - 0.5
        near = np.exp(-(place**2) / (2 * NEAR**2))
        weights = np.outer(near, near)
    else:
        weights = thing.astype(np.float64)
    found = np.bincount(basic_colours(pixels).ravel(), weights.ravel(), len(BASIC_COLOURS))
    return (found / found.sum()).astype(np.float32)


def basic_colours(rgb: np.ndarray) -> np.ndarray:
    """Name each colour: (..., 3) from 0 to 255 → (...) places in `BASIC_COLOURS`.

    The borders are hues of HSV in degrees; brown is a dark orange or a dull red, pink a pale
    or bluish red.
    """
    x = np.asarray(rgb, np.float32) / 255
    value, chroma = x.max(-1), x.max(-1) - x.min(-1)
    red, green, blue = np.moveaxis(x, -1, 0)
    safe, pure = np.maximum(chroma, 1e-6), chroma / np.maximum(value, 1e-6)
    hue = np.select(
        [value == red, value == green],
        [(green - blue) / safe % 6, (blue - red) / safe + 2],
        (red - green) / safe + 4,
    )
    found = np.select([60 * hue < end for end, _ in HUES], [name for _, name in HUES], RED)
    hue *= 60
    redder = (hue >= 345) | (hue < 14)
    found = np.where((hue >= 10) & (hue < 45) & (value < 0.7), BROWN, found)
    found = np.where(redder & ((value < 0.45) | (value < 0.7) & (pure < 0.8)), BROWN, found)
    found = np.where(redder & (pure < 0.6) & (value > 0.7), PINK, found)
    found = np.where((hue >= 295) & (hue < 345) & (value < 0.6), PURPLE, found)
    pale = (hue >= 14) & (hue < 60) & (pure < 0.35) & (value >= 0.7)  # beige has no name of its own
    found = np.where(pale, np.where(value > 0.85, WHITE, BROWN), found)
    gray = (chroma < 0.06) | (pure < 0.12)
    found = np.where(gray, np.select([value < 0.25, value > 0.85], [BLACK, WHITE], GRAY), found)
    return np.where(~gray & (value < 0.2), BLACK, found).astype(np.int64)
