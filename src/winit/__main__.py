"""python -m winit."""

import sys

from winit.cli import main

if __name__ == "__main__":
    sys.exit(main())
