"""Pictures of nothing that has a name, made on the spot: what no tower is taught.

Some sorts are there to learn what a stranger is, the others only to see whether that holds for
strangers of a kind never met. Every sort is a function of its own random generator and a side in
pixels, P, and gives (P, P, 3) uint8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDES = (64, 96, 160, 256)  # a visitor's pictures have any size
PIECES = 16  # a side: a photograph cut so small that only colours are left
LETTERS = "abcdefghijklmnopqrstuvwxyz"

Sort = Callable[[np.random.Generator, int], np.ndarray]


def noise(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw random pixels, of one to eight pixels' size, in colours or in grey."""
    grain = int(chance.choice([1, 2, 4, 8]))
    count = -(-side // grain)
    few = chance.integers(0, 256, (count, count, int(chance.choice([1, 3]))), np.uint8)
    return np.broadcast_to(few, (count, count, 3)).repeat(grain, 0).repeat(grain, 1)[:side, :side]


def gradient(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw a gradient from one colour to another, in any direction."""
    ramp = _ramp(chance, side)
    first, last = chance.uniform(0, 255, (2, 3))
    return _whole(first + (last - first) * (ramp[..., None] + 1) / 2)


def text(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw dark lines of made-up words on light paper."""
    ink, paper = chance.integers(0, 80, 3), chance.integers(200, 256, 3)
    return _page(chance, side, ink, paper, 1)


def light_text(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw light lines on a dark ground, as a terminal shows them."""
    ink, paper = chance.integers(150, 256, 3), chance.integers(0, 60, 3)
    return _page(chance, side, ink, paper, 1)


def columns(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw a newspaper's page: small print in two or three columns."""
    ink, paper = chance.integers(0, 60, 3), chance.integers(215, 256, 3)
    return _page(chance, side, ink, paper, int(chance.integers(2, 4)))


def stripes(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw bars of two colours, in any direction and of any width."""
    waves = np.sin(_ramp(chance, side) * chance.uniform(4, 40) + chance.uniform(0, 6))
    return _coloured(chance, waves > chance.uniform(-0.6, 0.6))


def checkers(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw a board of squares in two colours."""
    step = max(2, int(side / chance.uniform(3, 17)))
    y, x = np.indices((side, side)) // step
    return _coloured(chance, (x + y) % 2 == 1)


def dots(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw rows of discs on another colour."""
    step = side / chance.uniform(3, 14)
    y, x = np.indices((side, side)) % step - step / 2
    return _coloured(chance, np.hypot(x, y) < step * chance.uniform(0.2, 0.45))


def bricks(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw a wall: rows of stones of slightly different shades, every other row moved by half."""
    high = side / chance.uniform(5, 14)
    wide, joint = high * chance.uniform(1.6, 3), high * chance.uniform(0.08, 0.2)
    y, x = np.indices((side, side))
    row = (y // high).astype(int)
    along = x + (row % 2) * wide / 2
    shades = chance.uniform(-25, 25, (16, side + 2))[row % 16, (along // wide).astype(int)]
    wall = chance.uniform((90, 50, 30), (190, 120, 100)) + shades[..., None]
    gap = (y % high < joint) | (along % wide < joint)
    shown = np.where(gap[..., None], chance.uniform(150, 220), wall)
    return _whole(shown + chance.normal(0, 8, (side, side, 1)))


def clouds(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw smooth noise of several sizes, one over the other, in each colour."""
    return _whole(np.stack([255 * _clouds(chance, side) for _ in range(3)], 2))


def marble(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw veins of one colour through another."""
    veins = np.abs(np.sin(chance.uniform(6, 20) * _clouds(chance, side)))[..., None] ** 0.5
    first, second = chance.uniform(0, 255, (2, 3))
    return _whole(first + (second - first) * veins)


def wood(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw bent rings between two colours of one tone, with a fine grain."""
    bent = _ramp(chance, side) + chance.uniform(0.1, 0.5) * _clouds(chance, side)
    rings = (np.sin(bent * chance.uniform(8, 40)) + 1) / 2
    dark = chance.uniform((60, 30, 10), (140, 90, 60))
    light = dark + chance.uniform(40, 90)
    shade = dark + (light - dark) * rings[..., None]
    return _whole(shade + chance.normal(0, 6, (side, side, 1)))


def plain(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw one colour."""
    return np.broadcast_to(chance.integers(0, 256, 3, np.uint8), (side, side, 3))


def code(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw small black and white squares with a large one in three corners, within a white edge."""
    count = int(chance.integers(21, 34))
    cells = np.pad(chance.random((count, count)) < 0.5, 3, constant_values=True)
    eye = np.ones((8, 8), bool)
    eye[:7, :7] = False
    eye[1:6, 1:6] = True
    eye[2:5, 2:5] = False
    cells[3:11, 3:11], cells[3:11, -4:-12:-1] = eye, eye
    cells[-4:-12:-1, 3:11] = eye
    image = Image.fromarray(cells.astype(np.uint8) * 255).resize((side, side), Image.Resampling.BOX)
    return np.asarray(image.convert("RGB"))


def scribbles(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw what a pen leaves that wanders over light paper."""
    paper = Image.new("RGB", (side, side), tuple(chance.integers(220, 256, 3).tolist()))
    pen = ImageDraw.Draw(paper)
    for _ in range(int(chance.integers(1, 5))):
        turns = np.cumsum(chance.normal(0, 0.6, 120)) + chance.uniform(0, 6)
        steps = np.stack([np.cos(turns), np.sin(turns)], 1) * side * chance.uniform(0.02, 0.06)
        places = (chance.uniform(0.2, 0.8, 2) * side + np.cumsum(steps, 0)) % side
        ink, wide = tuple(chance.integers(0, 160, 3).tolist()), max(1, side // 64)
        for start, end in zip(places[:-1], places[1:], strict=True):
            if abs(end - start).max() < side / 2:  # not back across the whole page
                pen.line([*start, *end], ink, wide)
    return np.asarray(paper)


def window(chance: np.random.Generator, side: int) -> np.ndarray:
    """Draw a program's window: a bar above, a list beside, boxes and short lines of text."""
    light = chance.random() < 0.7
    base, ink = (chance.integers(225, 256, 3), 60) if light else (chance.integers(15, 50, 3), 210)
    screen = Image.new("RGB", (side, side), tuple(base.tolist()))
    pen, colours = ImageDraw.Draw(screen), chance.integers(0, 256, (3, 3))
    bar, edge = chance.uniform(0.06, 0.14) * side, chance.uniform(0.18, 0.32) * side
    pen.rectangle([0, 0, side, bar], tuple(colours[0].tolist()))
    pen.rectangle([0, bar, edge, side], tuple(((base + colours[1]) // 2).tolist()))
    for top in np.arange(bar + side / 24, side - side / 12, side / chance.uniform(7, 14)):
        pen.rectangle(
            [side / 40, top, edge * chance.uniform(0.4, 0.9), top + side / 40], (ink,) * 3
        )
        box = [edge + side / 24, top, edge + chance.uniform(0.2, 0.9) * (side - edge), top]
        if chance.random() < 0.3:
            pen.rectangle([*box[:3], top + side / 16], tuple(colours[2].tolist()))
        else:
            pen.rectangle([*box[:3], top + max(1, side / 60)], (ink,) * 3)
    return np.asarray(screen)


def scrambled(chance: np.random.Generator, rgb: np.ndarray) -> np.ndarray:
    """Shuffle the pieces of (P, P, 3); what is left of the edge by the cut is let go."""
    step = max(1, len(rgb) // PIECES)
    count = len(rgb) // step
    cut = rgb[: count * step, : count * step].reshape(count, step, count, step, 3)
    pieces = cut.swapaxes(1, 2).reshape(-1, step, step, 3)
    mixed = chance.permutation(pieces).reshape(count, count, step, step, 3)
    return mixed.swapaxes(1, 2).reshape(count * step, count * step, 3)


LEARNED: Mapping[str, Sort] = {
    "noise": noise,
    "gradients": gradient,
    "text": text,
    "stripes": stripes,
    "wood": wood,
    "clouds": clouds,
    "scribbles": scribbles,
    "checkers": checkers,
    "windows": window,
}
NEVER: Mapping[str, Sort] = {
    "light text": light_text,
    "columns of text": columns,
    "dots": dots,
    "bricks": bricks,
    "marble": marble,
    "plain colours": plain,
    "codes": code,
}


def made(sort: Sort, count: int, seed: int) -> list[np.ndarray]:
    """Return that many of a sort, always the same."""
    chance = np.random.default_rng(seed)
    return [sort(chance, int(chance.choice(SIDES))) for _ in range(count)]


def _page(
    chance: np.random.Generator, side: int, ink: np.ndarray, paper: np.ndarray, count: int
) -> np.ndarray:
    """Draw lines of made-up words in columns, larger where there is one."""
    page = Image.new("RGB", (side, side), tuple(paper.tolist()))
    size = max(6, int(side * chance.uniform(0.04, 0.25) / count))
    font, wide = ImageFont.load_default(size), side / count
    for column in range(count):
        part = Image.new("RGB", (int(wide), side), tuple(paper.tolist()))
        pen = ImageDraw.Draw(part)
        for top in range(0, side, size + 2):
            pen.text((2, top), _words(chance), fill=tuple(ink.tolist()), font=font)
        page.paste(part.crop((0, 0, int(wide * 0.93), side)), (int(column * wide), 0))
    return np.asarray(page)


def _words(chance: np.random.Generator) -> str:
    lengths: Sequence[int] = chance.integers(2, 9, 12).tolist()
    return " ".join("".join(chance.choice(list(LETTERS), length)) for length in lengths)


def _ramp(chance: np.random.Generator, side: int) -> np.ndarray:
    """Return (P, P), from -1 in one corner or edge to 1 in the one across."""
    angle = chance.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    return (np.cos(angle) * x + np.sin(angle) * y) / (abs(np.cos(angle)) + abs(np.sin(angle)))


def _clouds(chance: np.random.Generator, side: int) -> np.ndarray:
    """Return smooth noise, (P, P) in 0 to 1."""
    total = np.zeros((side, side))
    for octave in range(1, int(chance.integers(3, 6))):
        few = Image.fromarray(chance.random((2**octave + 1,) * 2).astype(np.float32))
        total += np.asarray(few.resize((side, side), Image.Resampling.BICUBIC)) / 2**octave
    low, high = total.min(), total.max()
    return (total - low) / (high - low)


def _coloured(chance: np.random.Generator, where: np.ndarray) -> np.ndarray:
    """Paint (P, P) bool in two colours."""
    first, second = chance.integers(0, 256, (2, 3), np.uint8)
    return np.where(where[..., None], first, second)


def _whole(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)
