"""Prefect's client, as anabranch has it."""
