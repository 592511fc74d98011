"""Distillation: clips of unlabelled speech, the ensemble of teachers that scores them, and the run of the student."""
