"""What a page is made of: sections of figures, tables and sheets. The template escapes all strings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .sheets import Sheet


@dataclass(frozen=True)
class Figure:
    """A chart with its title above and its explanation beneath.

    Attributes:
        title: what is drawn, with its unit.
        svg: the chart.
        legend: (class of the style sheet, name); empty for a single curve.
        caption: how to read it.
    """

    title: str
    svg: Markup
    legend: Sequence[tuple[str, str]] = ()
    caption: str = ""


@dataclass(frozen=True)
class Command:
    """Something to type, and what it is for."""

    what: str
    code: str


@dataclass(frozen=True)
class Group:
    """Figures, a table, sheets or commands under one heading.

    Attributes:
        title: "" for none.
        figures: side by side as they fit; of `size` "small", "medium" or "wide".
        header, rows: of a table; cells from the second column on are numbers if `numeric`.
    """

    title: str = ""
    lead: str = ""
    figures: Sequence[Figure] = ()
    size: str = "small"
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    numeric: bool = True
    sheets: Sequence[Sheet] = ()
    commands: Sequence[Command] = ()
    preformatted: str = ""


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        id: its anchor.
        title: its heading.
        lead: what it shows and how to read it.
        groups: its content.
        missing: what is not shown, and why; a sentence each.
    """

    id: str
    title: str
    lead: str = ""
    groups: Sequence[Group] = ()
    missing: Sequence[str] = ()
