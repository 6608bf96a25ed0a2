"""The service in the database of the record, each method a transaction; the contract is `core/service.py`."""
