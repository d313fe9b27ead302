"""Benchmarks: ``python -m bench.load`` (whole calls), ``python -m bench.frame_budget`` (one frame, part by part)."""
