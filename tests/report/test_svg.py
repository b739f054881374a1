"""Charts that are drawn by hand."""

import re

import numpy as np
import pytest
from markupsafe import Markup

from mmt_plugin.report.svg import histogram, line_chart, number, scatter, stacked_bar, ticks
from mmt_plugin.runs.metrics import Curve


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 6, [0, 2, 4, 6]),
        (41, 76, [50, 60, 70]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round_and_within(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (12936, "12,936"), (0.00035, "3.5e-4"), (75.33, "75.3"), (0.4796, "0.48")]
)
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_a_curve_has_a_dot_for_every_finite_value_where_it_belongs():
    curve = Curve("loss", [1, 2, 3, 4], [4.0, 2.0, float("nan"), 0.0])
    svg = line_chart("loss", [curve], ["loss"], from_zero=True)
    dots = re.findall(r'<circle class="dot c0" cx="([\d.]+)" cy="([\d.]+)"', svg)
    (x1, y1), (x2, y2), (x4, y4) = [tuple(map(float, dot)) for dot in dots]
    assert x2 - x1 == pytest.approx((x4 - x2) / 2, abs=0.2)
    assert y4 - y2 == pytest.approx(y2 - y1, abs=0.2)  # downwards
    assert "after 2 epochs: 2" in svg


def test_names_are_escaped():
    curve = Curve("x", [1], [1.0])
    for svg in (
        line_chart("<b>", [curve], ["<script>alert(1)</script>"]),
        scatter('"><b>', np.eye(3)[:, :2], ["rest"] * 3, ["<b>"] * 3),
        stacked_bar("<b>", [(1.0, "c0", "<b>")]),
        histogram("<b>", [np.array([0.1])], ["<b>"], "<b>"),
    ):
        assert isinstance(svg, Markup)
        assert "<b>" not in svg
        assert "<script" not in svg


def test_a_histogram_has_the_shares_of_its_values():
    svg = histogram("d", [np.full(10, 0.5), np.full(30, 1.9)], ["near", "far"], "distance", bins=12)
    near, far = re.findall(r'points="([^"]+)"', svg)
    tops = [min(float(p.split(",")[1]) for p in points.split()) for points in (near, far)]
    assert tops[0] == tops[1]  # all of each in one bin
    columns = [
        {float(p.split(",")[0]) for p in points.split() if float(p.split(",")[1]) == tops[0]}
        for points in (near, far)
    ]
    assert max(columns[0]) < min(columns[1])  # what lies beyond the axis is counted at its end


def test_parts_of_a_bar_fill_it_in_proportion():
    svg = stacked_bar("t", [(1.0, "c0", "a"), (3.0, "c1", "b")], width=400)
    boxes = re.findall(r'x="([\d.]+)" y="0" width="([\d.]+)"', svg)
    assert [tuple(map(float, box)) for box in boxes] == [(0, 100), (100, 300)]
