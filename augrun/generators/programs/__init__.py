"""Programs that run in other interpreters, started by their path. None of them imports augrun."""
