"""`python -m augrun`."""

from augrun.cli import main

if __name__ == "__main__":  # processes that a training starts import this file
    main()
