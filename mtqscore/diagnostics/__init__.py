"""Examination of an installation, and conformance of scores."""
