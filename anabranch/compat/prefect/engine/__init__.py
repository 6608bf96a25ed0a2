"""Prefect 1's `prefect.engine`: states, signals, executors, cache validators."""
