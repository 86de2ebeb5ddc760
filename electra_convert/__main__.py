"""`python -m electra_convert` is the command line."""

from __future__ import annotations

import sys

from electra_convert.cli import main

if __name__ == "__main__":
    sys.exit(main())
