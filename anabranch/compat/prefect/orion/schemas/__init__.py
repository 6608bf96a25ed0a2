"""The first Prefect 2's schemas; its server is not here."""
