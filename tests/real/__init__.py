"""Our adapters against servers that others wrote, each in a process of its own, with models made on the spot."""
