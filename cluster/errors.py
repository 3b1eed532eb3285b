"""Errors that end a start, each with the exit code and a message a user can act on."""


class BootError(Exception):
    """The cluster cannot start, or not as asked: the message says what, where, why and what to do."""

    exit_code = 1


class UsageError(BootError):
    """What was asked for cannot be meant: a bad flag or a bad config file."""

    exit_code = 2
