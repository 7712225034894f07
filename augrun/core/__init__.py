"""Machinery that knows nothing of experiments."""
