"""`python -m augrun`."""

from augrun.cli import main

main()
