"""Known clips, the exact scores of released models on them, and the check that scores have not moved."""
