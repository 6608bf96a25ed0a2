"""What is raised in a flow's function at a signal that ends the program."""

from __future__ import annotations


class Terminated(KeyboardInterrupt):
    """Raised in the main thread for another signal than Ctrl-C during a flow."""
