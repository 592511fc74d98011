"""The report for the browser: one file with every row, and with sound, spectrogram and curves of some recordings."""

from mtqscore.report.html.options import HtmlOptions
from mtqscore.report.html.writer import HtmlWriter

__all__ = ["HtmlOptions", "HtmlWriter"]
