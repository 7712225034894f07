"""Composing, checking and reading configurations."""
