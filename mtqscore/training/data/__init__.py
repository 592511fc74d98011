"""Datasets, augmentation and frame labels."""
