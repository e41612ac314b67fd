"""Small charts as inline SVG, coloured by the style sheet of the page, light and dark alike.

They are no template: benchmarks write them into files without the page, and what is drawn is
numbers. Where lines have names, `assets/charts.js` reads their values out.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 376, 170
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 10, 22  # room for the labels
NAMED = 16  # more room above and below where the axes are named
POINTS = 240  # of a line, at most
SMOOTH = 0.85  # share of the past in a smoothed value


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        kind: the class that colours it.
        points: (x, y) by rising x.
        dots: whether each point is marked as well.
        name: by which its values are read out, "" where they are not.
    """

    kind: str
    points: Sequence[tuple[float, float]]
    dots: bool = False
    name: str = ""


@dataclass(frozen=True)
class Axes:
    """What the axes are called, each with its unit; "" for what the title says already."""

    x: str
    y: str


def smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Take an exponential mean that begins at the first value, so that noise hides no trend."""
    found: list[tuple[float, float]] = []
    for x, y in points:
        past = found[-1][1] if found else y
        found.append((x, SMOOTH * past + (1 - SMOOTH) * y))
    return found


def thinned(points: Sequence[tuple[float, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """Keep at most so many points, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(place * (len(points) - 1) / (most - 1))] for place in range(most)]


def chart(
    lines: Sequence[Line],
    *,
    end: float,
    alt: str,
    top: float | None = None,
    percent: bool = False,
    axes: Axes | None = None,
) -> Markup:
    """Draw lines over 0 to `end` on one pair of axes.

    Args:
        lines: what is drawn, the first at the bottom.
        end: right end of the x axis.
        alt: what the chart shows, in words.
        top: highest value of the y axis; by default what the data needs.
        percent: values are shares.
        axes: their names; with them the values can be read out, by pointer and by keys.
    """
    values = [y for line in lines for _, y in line.points if math.isfinite(y)]
    highest = top or _nice(_most(values))
    span = max(end, 1.0)
    inner = HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        share = min(max(y / highest, 0.0), 1.0) if math.isfinite(y) else 1.0
        across = LEFT + (WIDTH - LEFT - RIGHT) * min(max(x / span, 0.0), 1.0)
        return round(across, 1), round(TOP + inner * (1 - share), 1)

    parts = [_grid(highest, span, place, percent)]
    for line in lines:
        spots = [place(x, y) for x, y in thinned(line.points)]
        if len(spots) > 1:
            path = "M" + "L".join(f"{x} {y}" for x, y in spots)
            parts.append(Markup('<path class="{}" d="{}"/>').format(line.kind, path))
        if line.dots or len(spots) == 1:
            circle = Markup('<circle class="{}" cx="{}" cy="{}" r="3"/>')
            parts += [circle.format(line.kind, x, y) for x, y in spots]
    if axes:
        return _named(lines, parts, axes, alt, span, percent)
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, HEIGHT, alt, Markup().join(parts))


def _named(
    lines: Sequence[Line],
    parts: Sequence[Markup],
    axes: Axes,
    alt: str,
    span: float,
    percent: bool,
) -> Markup:
    """Add the names of the axes, and what is read out: a slider whose value is a place on x."""
    values = {
        "x": axes.x,
        "percent": percent,
        "frame": [LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM],
        "end": span,
        "lines": [[line.name, _plain(thinned(line.points))] for line in lines if line.name],
    }
    name = Markup('<text class="axis" x="{}" y="{}" text-anchor="{}">{}</text>')
    return Markup(
        '<svg class="chart" viewBox="0 {} {} {}" role="slider" tabindex="0" aria-label="{}"'
        ' aria-valuemin="0" aria-valuemax="{:.0f}" aria-valuenow="{:.0f}" aria-valuetext="{}"'
        ' data-values="{}">{}{}{}</svg>'
    ).format(
        *(-NAMED, WIDTH, HEIGHT + 2 * NAMED),
        *(alt, span, span, alt, json.dumps(values, separators=(",", ":"))),
        Markup().join(parts),
        name.format(0, TOP - NAMED, "start", axes.y) if axes.y else "",
        name.format((LEFT + WIDTH - RIGHT) / 2, HEIGHT + NAMED - 4, "middle", axes.x),
    )


def _plain(points: Sequence[tuple[float, float]]) -> list[tuple[float, float | None]]:
    """Give numbers as JSON has them: short ones, and none for what is not finite."""
    return [(x, float(f"{y:.4g}") if math.isfinite(y) else None) for x, y in points]


def _grid(
    highest: float,
    span: float,
    place: Callable[[float, float], tuple[float, float]],
    percent: bool,
) -> Markup:
    parts = []
    for share in (0.0, 0.5, 1.0):
        _, y = place(0, share * highest)
        value = share * highest
        text = f"{value:.0%}" if percent else f"{value:.3g}"
        line = Markup('<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/>')
        parts.append(line.format(LEFT, WIDTH - RIGHT, y=y))
        label = Markup('<text class="y" x="{}" y="{}">{}</text>')
        parts.append(label.format(LEFT - 7, y + 4, text))
    _, bottom = place(0, 0)
    for share in (0.0, 0.5, 1.0):
        x, _ = place(share * span, 0)
        anchor = {0.0: "start", 0.5: "middle", 1.0: "end"}[share]
        label = Markup('<text x="{}" y="{}" text-anchor="{}">{:.0f}</text>')
        parts.append(label.format(x, bottom + 17, anchor, share * span))
    return Markup().join(parts)


def _most(values: Sequence[float]) -> float:
    """Find the highest value but for rare peaks, which would flatten everything else."""
    if not values:
        return 1.0
    ordered = sorted(values)
    usual = ordered[int(0.98 * (len(ordered) - 1))]
    return max(usual, 1e-6)


def _nice(value: float) -> float:
    """Round up to 1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten."""
    power = 10 ** math.floor(math.log10(value))
    return next(n * power for n in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if n * power >= value * 0.999)
