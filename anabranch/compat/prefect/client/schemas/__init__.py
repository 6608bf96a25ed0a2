"""Prefect's schemas, as anabranch has it."""
