"""The report for the browser: one file with every row, and with sound, spectrogram and curves of some recordings."""

from mtqscore.report.html.config import HtmlConfig
from mtqscore.report.html.writer import HtmlWriter

__all__ = ["HtmlConfig", "HtmlWriter"]
