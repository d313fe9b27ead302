"""Bytes to messages and back, all with size limits. Pure."""
