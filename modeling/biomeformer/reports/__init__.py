"""Figures and HTML reports of abundance tables."""

from .figure import cohort_figure
from .html import cohort_report
from .ordination import bray_curtis_pcoa

__all__ = ["bray_curtis_pcoa", "cohort_figure", "cohort_report"]
