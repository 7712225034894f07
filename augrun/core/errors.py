"""The two kinds of mistakes a person can mend. Anything else is a bug and keeps its traceback."""


class AugrunError(Exception):
    """Something outside the program is wrong (a file, a disk, a server).

    The message is one or two lines: what is wrong, where (key or file), and the mend.
    """

    exit_code = 1


class RequestError(AugrunError):
    """The request itself cannot be carried out; nothing was started."""

    exit_code = 2
