"""Distillation: clips of unlabelled speech, what a panel of teachers says of them, and the run that learns it."""
