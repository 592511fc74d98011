"""Gates, comparisons, evaluation and explanation of scores."""
