"""Devices, arithmetic precision, process groups and machine limits of a training run."""
