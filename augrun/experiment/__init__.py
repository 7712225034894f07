"""One condition: its plan, the work of its steps, and its results."""
