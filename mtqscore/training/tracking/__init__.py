"""History and curves of a training run, and its environment."""
