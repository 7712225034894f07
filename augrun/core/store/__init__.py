"""Stages: computed once, found again by their fingerprint."""
