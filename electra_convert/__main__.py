"""`python -m electra_convert` is the command line."""

from __future__ import annotations

import sys

from electra_convert.cli import process

if __name__ == "__main__":
    sys.exit(process())
