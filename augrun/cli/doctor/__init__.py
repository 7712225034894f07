"""Checks before a run costs anything."""
