"""What a client makes of a refusal."""

from collections.abc import Callable


def error_of(attempt: Callable[[], object]) -> str:
    """The error that the attempt ends with; empty where it succeeds."""
    try:
        attempt()
    except Exception as error:  # of any kind: each client has its own
        return repr(error)
    return ""
