"""Batch systems: what their commands are asked, what the answers mean, and one look at a queue for all programs."""
