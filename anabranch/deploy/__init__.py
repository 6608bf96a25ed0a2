"""Deployments as one document: in Python, YAML, JSON; with the storage of the flow's code."""
