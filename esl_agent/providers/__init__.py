"""Who listens, thinks and speaks: one file per vendor or contract."""
