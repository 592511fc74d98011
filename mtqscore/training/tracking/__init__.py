"""History, curves and predictions of a training run."""
