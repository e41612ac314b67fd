"""Charts as inline SVG: inside their axes, thinned, smoothed, and safe."""

import html
import json
import re

from demo.charts import Axes, Line, chart, smoothed, thinned


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


def test_named_axes_carry_the_values_that_are_read_out() -> None:
    nan = float("nan")
    lines = [Line("raw", [(1, 2.0), (2, nan)], name="<b>"), Line("train", [(1, 1.0)])]
    drawn = chart(lines, end=4, alt="Loss", axes=Axes("step", "nats"))
    values = json.loads(html.unescape(re.search(r'data-values="([^"]+)"', drawn)[1]))
    assert values["lines"] == [["<b>", [[1, 2.0], [2, None]]]]  # without a name: not read out
    assert values["frame"] == [40, 364, 10, 148] and values["end"] == 4
    assert 'role="slider"' in drawn and ">nats</text>" in drawn and "<b>" not in drawn
