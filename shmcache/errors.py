"""Errors of the shared segment."""


class SegmentError(Exception):
    """The segment cannot be made, mapped or used; the message says what and what to do."""


class LayoutMismatch(SegmentError):
    """What lies in the segment was not written by this version of the code, or is damaged."""
