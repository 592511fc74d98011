"""Degradations of clean speech, one a module."""
