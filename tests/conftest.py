"""Patches gevent before anything else is imported, as ``esl_agent.__main__`` does for the product."""

from gevent import monkey

monkey.patch_all()
