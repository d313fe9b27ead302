"""Who may speak. Pure: no sockets, no clock, no vendor names."""
