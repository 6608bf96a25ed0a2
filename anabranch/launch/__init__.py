"""How a whole flow is started elsewhere: one file per infrastructure; `core/launching.py` has what they have in common."""
