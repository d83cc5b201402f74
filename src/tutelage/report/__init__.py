"""Write a run folder's report, one self-contained HTML page: settings, results and their uncertainty."""

from tutelage.report.html import write

__all__ = ["write"]
