"""Refinement of the last proposals: dense CRF and matching with SAM's masks."""
