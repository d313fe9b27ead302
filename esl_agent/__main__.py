"""The program. Patches gevent before anything else is imported; the only place that patches."""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

from esl_agent.cli import main as cli_main  # noqa: E402


def main() -> None:
    sys.exit(cli_main(sys.argv[1:]))


if __name__ == "__main__":
    main()
