"""Charts as inline SVG: no script, no font, no file of its own.

Colours are classes of the page's style sheet, so that they follow its light and dark themes. What a mark
stands for is its <title>, shown under the pointer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from mmt_plugin.runs.metrics import Curve

# Colours that the style sheet numbers c0, c1, ...
NUM_COLOURS = 12
_MARGIN = {"left": 46, "right": 12, "top": 10, "bottom": 32}


@dataclass(frozen=True)
class Axis:
    """A range of values mapped to a range of pixels."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        span = (self.high - self.low) or 1.0
        return round(self.start + (value - self.low) / span * (self.stop - self.start), 1)


@dataclass(frozen=True)
class Frame:
    """The plotting area of a chart with its two axes."""

    width: int
    height: int
    x: Axis
    y: Axis

    @classmethod
    def around(
        cls, xs: tuple[float, float], ys: tuple[float, float], width: int = 290, height: int = 170
    ) -> Frame:
        m = _MARGIN
        return cls(
            width,
            height,
            Axis(*xs, m["left"], width - m["right"]),
            Axis(*ys, height - m["bottom"], m["top"]),
        )

    def draw(
        self, body: Markup, x_label: str, label: str, chart: str, y_ticks: bool = True, whole: bool = False
    ) -> Markup:
        """The chart: grid, axes and what is plotted.

        Args:
            body: of the chart.
            x_label: beneath the axis.
            label: what the chart shows, for those who cannot see it.
            chart: its name in the page.
            y_ticks: whether the vertical axis has a scale that matters.
            whole: whether the horizontal axis counts.
        """
        parts = []
        for value in ticks(self.y.low, self.y.high) if y_ticks else []:
            y = self.y(value)
            parts.append(_line(self.x.start, y, self.x.stop, y, "grid"))
            parts.append(_text(self.x.start - 6, y + 3.5, number(value), "end"))
        for value in ticks(self.x.low, self.x.high, 6):
            if whole and value % 1:
                continue
            parts.append(_text(self.x(value), self.y.start + 14, number(value), "middle"))
        parts.append(_line(self.x.start, self.y.start, self.x.stop, self.y.start, "axis"))
        parts.append(_text((self.x.start + self.x.stop) / 2, self.height - 3, x_label, "middle"))
        return Markup(
            '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" data-chart="{}">{}{}</svg>'
        ).format(self.width, self.height, label, chart, Markup("").join(parts), body)


def line_chart(
    chart: str,
    curves: Sequence[Curve],
    names: Sequence[str],
    *,
    from_zero: bool = False,
    top: float | None = None,
    references: Iterable[tuple[float, str]] = (),
    width: int = 290,
    height: int = 170,
    x_label: str = "epochs",
) -> Markup:
    """Curves over epochs, or over what `x_label` names, with a dot for every value.

    Args:
        chart: its name in the page.
        curves: of at least one value each; their colours are c0, c1, ... in this order.
        names: of the curves, as they are shown.
        from_zero: whether the vertical axis starts from 0.
        top: where it ends; by default at the largest value.
        references: dashed levels, each with what it is.
        width, height: in pixels.
    """
    references = list(references)
    values = [v for curve in curves for v in curve.values if math.isfinite(v)]
    values += [level for level, _ in references]
    epochs = [epoch for curve in curves for epoch in curve.epochs]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    slack = 0.06 * ((high - low) or abs(high) or 1.0)
    ys = (0.0 if from_zero or 0 <= low <= 2 * slack else low - slack, high + slack if top is None else top)
    counts = x_label == "epochs"

    def told(x: float) -> str:
        return f"after {number(x)} epochs" if counts else f"{x_label} {number(x)}"

    frame = Frame.around((0, max([*epochs, 1]) if counts else max(epochs)), ys, width, height)
    parts = []
    for level, what in references:
        y = frame.y(level)
        parts.append(_line(frame.x.start, y, frame.x.stop, y, "reference", f"{what}: {number(level)}"))
    for k, (curve, name) in enumerate(zip(curves, names, strict=True)):
        points = [
            (frame.x(x), frame.y(y), x, y)
            for x, y in zip(curve.epochs, curve.values, strict=True)
            if math.isfinite(y)
        ]
        path = " ".join(f"{x},{y}" for x, y, *_ in points)
        parts.append(Markup('<polyline class="line c{}" points="{}"/>').format(k, path))
        radius = 2.6 if len(points) <= 40 else 1.4
        parts += [
            Markup('<circle class="dot c{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
                k, x, y, radius, f"{name}, {told(epoch)}: {number(value)}"
            )
            for x, y, epoch, value in points
        ]
    return frame.draw(Markup("").join(parts), x_label, ", ".join(names), chart, whole=counts)


def histogram(
    chart: str, groups: Sequence[np.ndarray], names: Sequence[str], x_label: str, bins: int = 50
) -> Markup:
    """Overlaid densities of several groups of values, each of area 1, on the axis from 0 to the largest value
    that `x_label` names, 1.2 at most.
    """
    top = 1.2
    edges = np.linspace(0, top, bins + 1)
    shares = [np.histogram(np.clip(g, 0, top), edges)[0] / max(len(g), 1) for g in groups]
    frame = Frame.around((0, top), (0, 1.08 * max(share.max() for share in shares) or 1), 420, 190)
    parts = []
    for k, (share, name) in enumerate(zip(shares, names, strict=True)):
        corners = [(edges[0], 0.0)]
        for left, right, height in zip(edges[:-1], edges[1:], share, strict=True):
            corners += [(left, height), (right, height)]
        corners.append((edges[-1], 0.0))
        path = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in corners)
        parts.append(
            Markup('<polygon class="area c{}" points="{}"><title>{}</title></polygon>').format(k, path, name)
        )
    return frame.draw(Markup("").join(parts), x_label, ", ".join(names), chart, y_ticks=False)


def scatter(
    chart: str,
    points: np.ndarray,
    classes: Sequence[str],
    titles: Sequence[str],
    size: tuple[int, int] = (460, 340),
) -> Markup:
    """Points of a plane.

    Args:
        chart: its name in the page.
        points: S x 2.
        classes: of the style sheet, one a point; points of class "rest" are drawn first.
        titles: one a point.
        size: width and height in pixels.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = np.round(6 + (points - low) / np.maximum(high - low, 1e-9) * (np.array(size) - 12), 1)
    order = sorted(range(len(points)), key=lambda i: "rest" not in classes[i])
    marks = [
        Markup('<circle class="{}" cx="{}" cy="{}" r="3"><title>{}</title></circle>').format(
            classes[i], *scaled[i], titles[i]
        )
        for i in order
    ]
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" data-chart="{}">{}</svg>').format(
        *size, f"map of {len(points)} images", chart, Markup("").join(marks)
    )


def stacked_bar(chart: str, parts: Sequence[tuple[float, str, str]], width: int = 1060) -> Markup:
    """One bar of consecutive parts, each a share of the whole: (size, class, title)."""
    total = sum(size for size, *_ in parts) or 1.0
    marks, x = [], 0.0
    for size, css, title in parts:
        w = size / total * width
        marks.append(
            Markup('<rect class="{}" x="{}" y="0" width="{}" height="34"><title>{}</title></rect>').format(
                css, round(x, 2), round(w, 2), title
            )
        )
        x += w
    return Markup(
        '<svg viewBox="0 0 {} 34" preserveAspectRatio="none" class="bar" role="img" aria-label="{}" '
        'data-chart="{}">{}</svg>'
    ).format(width, "stages in the order in which they ran", chart, Markup("").join(marks))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values that divide a range into about `count` steps."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A number as short as it can be read."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 0.001:
        return f"{value:.1e}".replace("e-0", "e-")
    return f"{value:.3g}"


def _line(x1: float, y1: float, x2: float, y2: float, css: str, title: str = "") -> Markup:
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"><title>{}</title></line>').format(
        css, x1, y1, x2, y2, title
    )


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
        round(x, 1), round(y, 1), anchor, text
    )
