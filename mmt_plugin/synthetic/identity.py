"""Who walks through the built-in world: what a person looks like, apart from any camera.

An :class:`Identity` is sampled from a :class:`Wardrobe`, the clothing habits of a domain. Colours come from
one short palette of everyday clothes, so that many people share a colour and one colour tells nobody apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

Colour = tuple[int, int, int]
Weights = dict[str, float]

CLOTH_COLOURS: dict[str, Colour] = {
    "black": (34, 34, 38),
    "charcoal": (66, 68, 74),
    "grey": (128, 130, 134),
    "white": (226, 226, 222),
    "navy": (36, 46, 84),
    "blue": (58, 98, 168),
    "denim": (104, 132, 174),
    "red": (172, 44, 46),
    "burgundy": (104, 32, 48),
    "green": (58, 108, 68),
    "olive": (98, 96, 62),
    "beige": (198, 178, 142),
    "brown": (104, 72, 50),
    "yellow": (212, 176, 64),
    "pink": (212, 146, 160),
    "purple": (100, 66, 124),
}
SKIN_COLOURS: list[Colour] = [(241, 204, 177), (226, 180, 146), (198, 146, 108), (150, 104, 74), (96, 66, 48)]
HAIR_COLOURS: list[Colour] = [
    (30, 26, 26),
    (62, 44, 34),
    (104, 72, 46),
    (176, 140, 86),
    (150, 148, 146),
    (126, 58, 34),
]
HAIR_COLOUR_WEIGHTS = [0.36, 0.26, 0.14, 0.1, 0.1, 0.04]
HAIR_STYLES: Weights = {"short": 0.46, "long": 0.2, "ponytail": 0.12, "bob": 0.12, "bald": 0.06, "bun": 0.04}
SHOE_COLOURS: Weights = {"black": 0.4, "white": 0.25, "brown": 0.2, "grey": 0.1, "red": 0.05}
BAG_COLOURS: Weights = {
    "black": 0.36,
    "navy": 0.14,
    "brown": 0.14,
    "grey": 0.1,
    "red": 0.1,
    "beige": 0.08,
    "olive": 0.08,
}
HAT_COLOURS: Weights = {"black": 0.3, "grey": 0.16, "navy": 0.16, "beige": 0.14, "red": 0.12, "white": 0.12}
# How far the same cloth differs between two people, in 8-bit levels: less than what a camera changes.
CLOTH_JITTER = 7.0


@dataclass(frozen=True)
class Garment:
    """One piece of clothing. ``accent`` is the second colour of the pattern (unused when plain)."""

    kind: str
    colour: Colour
    pattern: str
    accent: Colour


@dataclass(frozen=True)
class Identity:
    """Everything that stays the same on every picture of a person."""

    height: float  # relative to an average adult
    build: float  # relative width
    skin: Colour
    hair_style: str
    hair: Colour
    upper: Garment  # tshirt, shirt, jacket, coat, hoodie or dress
    inner: Colour  # the shirt under an open jacket
    lower: Garment  # trousers, shorts or skirt
    shoes: Colour
    bag: str  # none, backpack, shoulder, handbag
    bag_colour: Colour
    bag_side: int  # -1 or 1: the shoulder or hand that carries it
    hat: str  # none, cap, beanie, brim
    hat_colour: Colour


@dataclass(frozen=True)
class Wardrobe:
    """Clothing habits of a domain, as weights (they need not sum to one)."""

    uppers: Weights
    upper_colours: Weights
    upper_patterns: Weights
    lowers: Weights
    lower_colours: Weights
    lower_patterns: Weights
    bags: Weights
    hats: Weights


SUMMER = Wardrobe(
    uppers={"tshirt": 0.44, "shirt": 0.22, "jacket": 0.08, "hoodie": 0.1, "dress": 0.16},
    upper_colours={
        "white": 0.13, "black": 0.1, "grey": 0.08, "blue": 0.1, "denim": 0.07, "red": 0.1, "green": 0.09,
        "beige": 0.07, "yellow": 0.08, "pink": 0.07, "navy": 0.06, "purple": 0.05,
    },
    upper_patterns={"plain": 0.5, "stripes": 0.14, "bars": 0.06, "checks": 0.06, "logo": 0.1, "block": 0.14},
    lowers={"trousers": 0.5, "shorts": 0.32, "skirt": 0.18},
    lower_colours={
        "denim": 0.19, "navy": 0.13, "black": 0.15, "beige": 0.15, "grey": 0.12, "white": 0.1, "olive": 0.08,
        "red": 0.08,
    },
    lower_patterns={"plain": 0.93, "checks": 0.07},
    bags={"none": 0.5, "backpack": 0.2, "shoulder": 0.18, "handbag": 0.12},
    hats={"none": 0.76, "cap": 0.15, "brim": 0.09},
)  # fmt: skip

WINTER = Wardrobe(
    uppers={"jacket": 0.24, "coat": 0.28, "hoodie": 0.24, "shirt": 0.18, "dress": 0.06},
    upper_colours={
        "black": 0.14, "navy": 0.13, "grey": 0.11, "brown": 0.1, "olive": 0.1, "beige": 0.1, "burgundy": 0.09,
        "red": 0.06, "purple": 0.06, "white": 0.06, "green": 0.05,
    },
    upper_patterns={
        "plain": 0.54, "stripes": 0.08, "bars": 0.06, "checks": 0.08, "logo": 0.08, "block": 0.16,
    },
    lowers={"trousers": 0.84, "skirt": 0.16},
    lower_colours={
        "black": 0.2, "navy": 0.16, "charcoal": 0.1, "denim": 0.16, "grey": 0.11, "brown": 0.1,
        "beige": 0.11, "burgundy": 0.06,
    },
    lower_patterns={"plain": 0.92, "checks": 0.08},
    bags={"none": 0.46, "backpack": 0.22, "shoulder": 0.2, "handbag": 0.12},
    hats={"none": 0.68, "beanie": 0.22, "brim": 0.04, "cap": 0.06},
)  # fmt: skip


def _pick(rng: np.random.Generator, weights: Weights) -> str:
    names = list(weights)
    cumulative = np.cumsum([weights[name] for name in names])
    return names[int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))]


def _jitter(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    red, green, blue = np.clip(np.asarray(colour) + rng.normal(0.0, amount, 3), 0, 255).astype(int).tolist()
    return red, green, blue


def _cloth(rng: np.random.Generator, weights: Weights) -> Colour:
    return _jitter(rng, CLOTH_COLOURS[_pick(rng, weights)], CLOTH_JITTER)


def _garment(rng: np.random.Generator, kinds: Weights, colours: Weights, patterns: Weights) -> Garment:
    return Garment(_pick(rng, kinds), _cloth(rng, colours), _pick(rng, patterns), _cloth(rng, colours))


def sample_identity(rng: np.random.Generator, wardrobe: Wardrobe) -> Identity:
    """Draws one person dressed from ``wardrobe``."""
    return Identity(
        height=float(np.clip(rng.normal(1.0, 0.055), 0.86, 1.12)),
        build=float(np.clip(rng.normal(1.0, 0.11), 0.8, 1.32)),
        skin=_jitter(rng, SKIN_COLOURS[int(rng.integers(len(SKIN_COLOURS)))], 4.0),
        hair_style=_pick(rng, HAIR_STYLES),
        hair=_jitter(rng, HAIR_COLOURS[int(rng.choice(len(HAIR_COLOURS), p=HAIR_COLOUR_WEIGHTS))], 4.0),
        upper=_garment(rng, wardrobe.uppers, wardrobe.upper_colours, wardrobe.upper_patterns),
        inner=_cloth(rng, SUMMER.upper_colours),
        lower=_garment(rng, wardrobe.lowers, wardrobe.lower_colours, wardrobe.lower_patterns),
        shoes=_cloth(rng, SHOE_COLOURS),
        bag=_pick(rng, wardrobe.bags),
        bag_colour=_cloth(rng, BAG_COLOURS),
        bag_side=1 if rng.random() < 0.5 else -1,
        hat=_pick(rng, wardrobe.hats),
        hat_colour=_cloth(rng, HAT_COLOURS),
    )


def resembling(who: Identity, other: Identity, share: float) -> Identity:
    """A person who looks like another: colours are mixed by a share in [0, 1], and from one half on shapes
    and patterns are the other's.
    """

    def mixed(one: Colour, two: Colour) -> Colour:
        red, green, blue = (round((1 - share) * a + share * b) for a, b in zip(one, two, strict=True))
        return red, green, blue

    def garment(one: Garment, two: Garment) -> Garment:
        shape = one if share < 0.5 else two
        return replace(shape, colour=mixed(one.colour, two.colour), accent=mixed(one.accent, two.accent))

    return replace(
        who if share < 0.5 else other,
        height=(1 - share) * who.height + share * other.height,
        build=(1 - share) * who.build + share * other.build,
        upper=garment(who.upper, other.upper),
        lower=garment(who.lower, other.lower),
        **{
            part: mixed(getattr(who, part), getattr(other, part))
            for part in ("skin", "hair", "inner", "shoes", "bag_colour", "hat_colour")
        },
    )
