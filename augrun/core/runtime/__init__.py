"""The process, the machine and the console."""
