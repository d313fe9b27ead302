"""REST, metrics and pages."""
