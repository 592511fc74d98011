"""Structured pruning: what each unit is worth, what goes, and a run folder made of what is left."""
