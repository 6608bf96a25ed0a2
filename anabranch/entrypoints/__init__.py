"""Flows found by what people type: FILE:FLOW, MODULE:FLOW."""
