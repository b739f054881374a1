"""Structured domain adaptation: source images in the target's style (VisDA-2020 report, Section 3.1)."""

from .cycle_gan import StructuredDomainAdaptation  # registers it

__all__ = ["StructuredDomainAdaptation"]
