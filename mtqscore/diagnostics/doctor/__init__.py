"""Examination of an installation, which never fails itself; it starts with the standard library only."""
