"""Text, files, processor resources and configuration schemas, shared by every package."""
