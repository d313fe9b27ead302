"""``python -m esl_agent.config schema DIRECTORY`` and ``... docs FILE``: the files made from the settings' code."""

from __future__ import annotations

import sys
from pathlib import Path

from esl_agent.config.reference import reference
from esl_agent.config.schema import write
from esl_agent.providers import registry


def main(arguments: list[str]) -> int:
    """The exit code. With no path, writes where the repository keeps the file."""
    match arguments:
        case ["schema", *rest] if len(rest) <= 1:
            for path in write(rest[0] if rest else "conf/schema", registry):
                print(path)
        case ["docs", *rest] if len(rest) <= 1:
            path = Path(rest[0] if rest else "docs/settings.md")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(reference(registry), encoding="utf-8")
            print(path)
        case _:
            print("usage: python -m esl_agent.config schema [DIRECTORY] | docs [FILE]", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
