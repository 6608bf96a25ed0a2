"""Prefect's utilities, as anabranch has it."""
