"""The program. Patches gevent before anything else is imported; the only place that patches."""

import os

from gevent import monkey

monkey.patch_all()

# numpy's matrices are small here: threads of its BLAS would only take the core from the hub. Read at its import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys  # noqa: E402

from gevent import get_hub  # noqa: E402

from esl_agent import lookups  # noqa: E402
from esl_agent.cli import main as cli_main  # noqa: E402


def main() -> None:
    hub = get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)  # Ctrl-C is not told of on stderr
    lookups.install()
    sys.exit(cli_main(sys.argv[1:]))


if __name__ == "__main__":
    main()
