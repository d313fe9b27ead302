"""The newcomer's first five minutes: one whole call, shown as it happens, and what is left of it to look at."""
