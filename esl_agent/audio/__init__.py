"""Samples. Pure: PCM16 little-endian mono unless a name says otherwise."""
