"""How a call reaches us: one module per door."""
