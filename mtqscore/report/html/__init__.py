"""The report for the browser: one file with every row, and with sound, spectrogram and curves of some recordings."""

from mtqscore.report.html.writer import HtmlConfig, HtmlWriter

__all__ = ["HtmlConfig", "HtmlWriter"]
