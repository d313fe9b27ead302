"""Patches gevent before anything else is imported, as ``esl_agent.__main__`` does for the product."""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import tempfile  # noqa: E402

from hypothesis import HealthCheck, settings  # noqa: E402

from esl_agent import lookups  # noqa: E402

lookups.install()

# A change is judged by what it does, not by the draw, nor by how busy the machine is: the same examples each time, at
# any pace. `make laws` searches for others.
SLOWLY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", SLOWLY, derandomize=True)
settings.register_profile("search", SLOWLY, derandomize=False, print_blob=True)
settings.load_profile("same")

# Phrases that a test speaks are no part of the machine's cache, and what is there is no part of a test.
os.environ.pop("CACHE_DIRECTORY", None)
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="esl-agent-tests-")
