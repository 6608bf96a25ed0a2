"""A virtual cluster under the real dispatcher: no threads, no sleeping, ten thousand workers in one process."""
