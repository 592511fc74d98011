"""Structured pruning of the compact network: layers that can be cut, importance of their units, run folders."""
