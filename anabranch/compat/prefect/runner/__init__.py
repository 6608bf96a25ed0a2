"""Prefect's `prefect.runner`."""
