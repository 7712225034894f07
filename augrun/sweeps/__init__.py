"""Many conditions: rows, controls, launchers, tuning."""
