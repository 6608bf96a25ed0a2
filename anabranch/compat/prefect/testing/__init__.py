"""Prefect's testing, as anabranch has it."""
