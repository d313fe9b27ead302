"""Calls through a real Asterisk, measured at the caller's ear: ``python -m bench.asterisk``."""
