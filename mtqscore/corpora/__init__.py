"""Corpora to train on: any label table, and named ones in the layout that their owners publish."""
