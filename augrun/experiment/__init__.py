"""One condition."""
