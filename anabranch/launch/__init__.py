"""How a whole flow is started elsewhere, one file per infrastructure; the contract is `core/launching.py`."""
