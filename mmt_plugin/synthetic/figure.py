"""Draws one pedestrian: an :class:`~.identity.Identity` in a :class:`Pose`, far parts first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from .identity import Identity
from .pen import Fill, Pen, darker

SHOULDER_Y, WAIST_Y, HIP_Y = 0.175, 0.41, 0.5
# (y, half width from the front, half depth from the side) of the trunk of an average build.
TRUNK = [
    (0.155, 0.05, 0.034),
    (0.18, 0.108, 0.058),
    (0.26, 0.106, 0.074),
    (0.34, 0.094, 0.07),
    (0.42, 0.088, 0.064),
    (0.5, 0.096, 0.072),
    (0.53, 0.094, 0.07),
]
HEAD_Y, HEAD_RX, HEAD_RY = 0.078, 0.05, 0.064
SLEEVE_END = {
    "tshirt": 0.5,
    "dress": 0.4,
}  # share of the arm a sleeve covers; any other upper covers all of it


@dataclass(frozen=True)
class Pose:
    """How the person stands on one picture.

    Attributes:
        azimuth: radians; 0 faces the camera, pi / 2 walks to the picture's right, pi shows the back.
        gait: radians, phase of the step.
        stride: amplitude of the step, 0 (standing) to about 1.
    """

    azimuth: float
    gait: float
    stride: float


class Figure:
    """One identity in one pose, drawn with one pen."""

    def __init__(self, identity: Identity, pose: Pose, pen: Pen) -> None:
        self.who, self.pen = identity, pen
        self.front = math.cos(pose.azimuth)  # 1: face to the camera, -1: back
        self.side = math.sin(pose.azimuth)  # walking direction on the picture
        self.swing = pose.stride * math.sin(pose.gait)
        self.upper_fill: Fill = pen.cloth(identity.upper, 0.0)
        self.lower_fill: Fill = pen.cloth(identity.lower, 0.0)

    def half_width(self, y: float) -> float:
        """Half of the trunk's visible width at height ``y``; wider from the front than from the side."""
        rows = TRUNK
        if y <= rows[0][0]:
            wide, deep = rows[0][1:]
        else:
            wide, deep = rows[-1][1:]
            for (y0, wide0, deep0), (y1, wide1, deep1) in pairwise(rows):
                if y0 <= y <= y1:
                    t = (y - y0) / (y1 - y0)
                    wide, deep = wide0 + t * (wide1 - wide0), deep0 + t * (deep1 - deep0)
                    break
        return math.hypot(wide * self.front, deep * self.side) * self.who.build

    def paint(self) -> None:
        """Draws the whole figure; what is further from the camera comes first."""
        near = -1 if self.side >= 0 else 1  # whoever walks to the right shows their right side (-1)
        self._shadow()
        seen_from_behind = self.front < -0.15
        if not seen_from_behind:
            self._hair_fall()
            self._backpack()
        self._arm(-near)
        self._leg(-near)
        self._leg(near)
        self._skirt()
        self._trunk()
        self._head()
        if abs(self.front) > 0.6:
            self._arm(-near)
        self._arm(near)
        if seen_from_behind:
            self._backpack()
            self._hair_fall()
        self._bags()

    def _shadow(self) -> None:
        self.pen.ellipse(0.02, 0.985, 0.15, 0.018, (0, 0, 0, 90))

    def _side_x(self, body_side: int, distance: float) -> float:
        """x of a point ``distance`` out on a side of the body (1: its left, our right when it faces us)."""
        return body_side * distance * self.front

    def _leg(self, body_side: int) -> None:
        who, forward = self.who, self.swing * body_side
        hip_x = self._side_x(body_side, 0.046 * who.build)
        lift = 0.035 * max(0.0, -forward)
        knee = (hip_x + 0.085 * forward * self.side, 0.735 - 0.4 * lift)
        ankle = (
            hip_x + (0.15 * forward - 0.04 * max(0.0, -forward)) * self.side,
            0.95 - lift + 0.012 * forward * self.front,
        )
        thick = 0.6 + 0.4 * who.build
        radii = [0.056 * thick, 0.04 * thick, 0.026 * thick]
        joints = [(hip_x, HIP_Y), knee, ankle]
        covered = who.lower.kind == "trousers" and who.upper.kind != "dress"
        if covered:
            self.pen.limb(joints, [radii[0], radii[1] * 1.08, radii[2] * 1.3], self.lower_fill)
        else:
            self.pen.limb(joints, radii, who.skin)
            if who.lower.kind == "shorts" and who.upper.kind != "dress":
                self.pen.limb(joints[:2], [radii[0] * 1.05, radii[1] * 1.3], self.lower_fill)
        toe = (
            ankle[0] + 0.05 * self.side + 0.012 * body_side * self.front,
            ankle[1] + 0.028 + 0.008 * self.front,
        )
        self.pen.limb([(ankle[0], ankle[1] + 0.018), toe], [0.024, 0.018], who.shoes)

    def _arm(self, body_side: int) -> None:
        who, forward = self.who, -self.swing * body_side
        shoulder_x = self._side_x(body_side, 0.1 * who.build)
        out = self._side_x(body_side, 0.024)
        elbow = (shoulder_x + out + 0.07 * forward * self.side, 0.325)
        hand = (
            shoulder_x + 1.2 * out + (0.13 * forward + 0.02) * self.side,
            0.465 - 0.03 * abs(forward) * abs(self.side) - 0.025 * max(0.0, forward) * abs(self.front),
        )
        thick = 0.55 + 0.45 * who.build
        bulky = 1.18 if who.upper.kind in ("jacket", "coat", "hoodie") else 1.0
        joints = [(shoulder_x, SHOULDER_Y + 0.02), elbow, hand]
        radii = [0.034 * thick * bulky, 0.028 * thick * bulky, 0.021 * thick * bulky]
        end = SLEEVE_END.get(who.upper.kind, 1.0)
        self.pen.limb([elbow, hand, (hand[0], hand[1] + 0.018)], [radii[1] * 0.86, 0.018, 0.018], who.skin)
        if end == 1.0:
            self.pen.limb(joints, radii, self.upper_fill)
        else:
            (x0, y0), (x1, y1) = joints[0], joints[1]
            cuff = (x0 + (x1 - x0) * 2 * end * 0.9, y0 + (y1 - y0) * 2 * end * 0.9)
            self.pen.limb([joints[0], cuff], [radii[0], radii[1] * 1.15], self.upper_fill)
        if who.bag == "handbag" and who.bag_side == body_side:
            self._box(hand[0], hand[1] + 0.075, 0.05, 0.045)

    def _trunk(self) -> None:
        who = self.who
        hem = {"tshirt": 0.5, "shirt": 0.52, "jacket": 0.52, "hoodie": 0.52, "coat": 0.7, "dress": 0.52}[
            who.upper.kind
        ]
        bulky = 1.08 if who.upper.kind in ("jacket", "coat", "hoodie") else 1.0
        if hem < 0.52 and who.lower.kind != "skirt":
            self.pen.column([(0.0, y, self.half_width(y)) for y in (0.47, 0.5, 0.53)], self.lower_fill)
        self.pen.limb([(0.0, 0.12), (0.0, 0.165)], [0.03, 0.034], darker(who.skin, 0.9))
        rows = [y for y, _, _ in TRUNK if y < hem] + [min(hem, 0.53)]
        profile = [(0.0, y, self.half_width(y) * bulky) for y in rows]
        if who.upper.kind == "coat":
            profile.append((0.0, hem, self.half_width(0.5) * 1.16))
        self.pen.column(profile, self.upper_fill)
        if who.upper.kind == "jacket" and self.front > 0.1:
            gap = 0.03 * self.front
            x = 0.03 * self.side
            self.pen.polygon(
                [(x - gap, 0.15), (x + gap, 0.15), (x + 0.8 * gap, hem), (x - 0.8 * gap, hem)], who.inner
            )
        if who.upper.kind == "hoodie":
            self.pen.ball(
                -0.02 * self.side, 0.158, 0.062, 0.03, darker_fill(self.upper_fill, who.upper.colour)
            )
        if who.upper.pattern == "logo" and self.front > 0.2 and who.upper.kind != "jacket":
            x = 0.04 * self.side
            self.pen.ellipse(x, 0.28, 0.052 * self.front, 0.042, who.upper.accent)

    def _skirt(self) -> None:
        who = self.who
        if who.upper.kind == "dress":
            fill, hem, flare = self.upper_fill, 0.7, 1.3
        elif who.lower.kind == "skirt":
            fill, hem, flare = self.lower_fill, 0.7, 1.2
        else:
            return
        half = self.half_width(0.5)
        self.pen.column(
            [(0.0, 0.45, self.half_width(0.45)), (0.0, 0.52, half * 1.06), (0.0, hem, half * flare)], fill
        )

    def _head(self) -> None:
        who, x = self.who, 0.016 * self.side
        bald = who.hair_style == "bald"
        if not bald:
            self.pen.ball(x - 0.012 * self.side, HEAD_Y - 0.008, HEAD_RX * 1.1, HEAD_RY * 1.06, who.hair)
        if self.front > -0.5 or bald:
            turn = max(self.front, 0.0)
            face_x = x if bald else x + 0.024 * self.side
            narrow = 1.0 if bald else 0.72 + 0.24 * turn
            self.pen.ball(
                face_x,
                HEAD_Y + (0.0 if bald else 0.012),
                HEAD_RX * narrow,
                HEAD_RY * (1.0 if bald else 0.86),
                who.skin,
            )
            if turn > 0.3:
                for eye in (-0.019, 0.019):
                    x_eye = face_x + eye * turn + 0.014 * self.side
                    self.pen.ellipse(x_eye, HEAD_Y + 0.006, 0.006, 0.007, (30, 24, 22))
        if who.hair_style == "bun":
            self.pen.ball(-0.04 * self.side, 0.012, 0.026, 0.024, who.hair)
        self._hat(x)

    def _hair_fall(self) -> None:
        who, back = self.who, -0.03 * self.side
        if who.hair_style == "long":
            rows = [(back, 0.06, 0.052), (back * 1.2, 0.14, 0.058), (back * 1.4, 0.235, 0.05)]
            self.pen.column(rows, who.hair)
            self.pen.ellipse(back * 1.4, 0.235, 0.05, 0.02, who.hair)
        elif who.hair_style == "bob":
            self.pen.column([(back * 0.6, 0.05, 0.054), (back * 0.8, 0.135, 0.06)], who.hair)
            self.pen.ellipse(back * 0.8, 0.135, 0.06, 0.016, who.hair)
        elif who.hair_style == "ponytail":
            self.pen.limb(
                [(back * 1.4, 0.06), (back * 2.2, 0.12), (back * 2.2, 0.21)], [0.018, 0.022, 0.012], who.hair
            )

    def _hat(self, x: float) -> None:
        who, pen = self.who, self.pen
        if who.hat == "none":
            return
        crown = [(x - 0.056, 0.062), (x - 0.05, 0.022), (x, 0.0), (x + 0.05, 0.022), (x + 0.056, 0.062)]
        if who.hat == "beanie":
            crown = [(px, py - 0.006 if py < 0.06 else py) for px, py in crown]
        pen.polygon(crown, who.hat_colour)
        if who.hat == "cap" and self.front > -0.6:
            visor = x + 0.05 * self.side
            pen.ellipse(visor, 0.06, 0.026 + 0.022 * abs(self.front), 0.01, darker(who.hat_colour, 0.75))
        elif who.hat == "brim":
            pen.ellipse(x, 0.058, 0.088, 0.014, darker(who.hat_colour, 0.85))
        elif who.hat == "beanie":
            pen.line([(x - 0.054, 0.055), (x + 0.054, 0.055)], 0.016, darker(who.hat_colour, 0.8))

    def _backpack(self) -> None:
        who, pen = self.who, self.pen
        if who.bag != "backpack":
            return
        if self.front < -0.15:
            width = 0.07 * abs(self.front) + 0.045 * abs(self.side)
            self._box(-0.05 * self.side, 0.3, width, 0.095)
            pen.line(
                [(-0.05 * self.side - 0.6 * width, 0.34), (-0.05 * self.side + 0.6 * width, 0.34)],
                0.008,
                darker(who.bag_colour, 0.6),
            )
        else:
            self._box(-0.085 * self.side, 0.3, 0.045 + 0.04 * abs(self.front), 0.1)

    def _bags(self) -> None:
        who, pen = self.who, self.pen
        if who.bag == "backpack" and self.front > 0.15:
            for strap in (-1, 1):
                x = self._side_x(strap, 0.066)
                pen.line([(x * 0.9, 0.165), (x, 0.24), (x * 1.15, 0.33)], 0.016, who.bag_colour)
        if who.bag == "shoulder":
            x = self._side_x(who.bag_side, 0.115 * who.build)
            pen.line([(-0.75 * x, 0.165), (x, 0.45)], 0.012, darker(who.bag_colour, 0.8))
            # The bag on the far hip of someone walking past is hidden by the body.
            if abs(self.front) > 0.5 or who.bag_side * self.side < 0:
                self._box(x, 0.485, 0.056, 0.05)

    def _box(self, x: float, y: float, half_width: float, half_height: float) -> None:
        self.pen.column(
            [
                (x, y - half_height, half_width * 0.8),
                (x, y - 0.7 * half_height, half_width),
                (x, y + 0.8 * half_height, half_width),
                (x, y + half_height, half_width * 0.85),
            ],
            self.who.bag_colour,
        )


def darker_fill(fill: Fill, colour: tuple[int, int, int]) -> Fill:
    """A plain, slightly darker colour for details (a hood, a collar) of a garment."""
    return darker(colour, 0.86) if isinstance(fill, tuple) else darker(colour, 0.92)
