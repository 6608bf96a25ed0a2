"""Deployments as one document: in Python, YAML, JSON; with the storage of the flow's code.

Users import `Deployment` from `anabranch.deploy`, which speaks to the service too.
"""
