"""A voice agent for FreeSWITCH, Asterisk and baresip. Importing this package patches nothing (see ``__main__``)."""

__version__ = "0.1.0"
