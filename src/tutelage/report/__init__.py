"""A run folder becomes one self-contained HTML page: what was done, what came out, and how sure that is."""

from tutelage.report.html import write

__all__ = ["write"]
