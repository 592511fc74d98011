"""Self-supervised front ends: how they compute, and where their weights come from."""
