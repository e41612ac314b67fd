"""Charts as inline SVG: inside their axes, thinned, smoothed, and safe."""

import re

from demo.charts import Line, chart, smoothed, thinned


def test_charts_keep_inside_their_axes() -> None:
    nan, inf = float("nan"), float("inf")
    drawn = chart(
        [Line("held", [(0, 3.0), (5, nan), (7, inf), (99, 1.0)], dots=True)], end=10, alt="<script>"
    )
    assert "nan" not in drawn and "inf" not in drawn and "<script" not in drawn
    xs = [float(x) for x in re.findall(r'cx="([\d.]+)"', drawn)]
    assert len(xs) == 4 and max(xs) <= 376 and min(xs) >= 40
    assert chart([Line("train", [])], end=0, alt="").startswith("<svg")
    line = [(float(n), 1.0) for n in range(5000)]
    assert len(thinned(line)) == 240 and thinned(line)[-1] == line[-1]
    assert smoothed([(0, 1.0), (1, 0.0)]) == [(0, 1.0), (1, 0.85)]
