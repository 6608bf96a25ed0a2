"""Deployments as one document: in Python, YAML, JSON; with the storage of the flow's code.

What users import from here is `anabranch.deploy`.
"""
