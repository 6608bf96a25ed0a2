"""A module of a function, to be registered by tests of pickles."""


def answer() -> int:
    return 42
