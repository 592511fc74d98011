"""Result rows: columns, readers, writers, resuming and merging."""
