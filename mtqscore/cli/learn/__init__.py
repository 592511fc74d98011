"""Commands that make models: simulate, train, distill, prune, export."""
