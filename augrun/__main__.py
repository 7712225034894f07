"""`python -m augrun`."""

from augrun.cli.main import main

if __name__ == "__main__":  # processes that a training starts import this file
    main()
