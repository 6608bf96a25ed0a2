"""Agents: loops that claim orders and start a driver for each, through a launcher."""
