"""The page of a benchmark's results (``bbo report``): HTML, with PNG and SVG files beside it."""

from evaluation.report.page import write_report

__all__ = ["write_report"]
