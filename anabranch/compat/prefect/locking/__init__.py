"""Prefect's lock managers."""
