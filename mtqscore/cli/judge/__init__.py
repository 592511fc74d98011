"""Commands on results: gate, compare, evaluate, merge."""
