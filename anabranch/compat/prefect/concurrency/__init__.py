"""Prefect's concurrency, as anabranch has it."""
