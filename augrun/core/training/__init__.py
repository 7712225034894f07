"""Fitting networks: exact resume, several devices, many networks as one."""
