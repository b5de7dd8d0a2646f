"""``python -m pyro_ldm.cli`` is ``pyro-ldm``."""

import sys

from pyro_ldm.cli import main

if __name__ == "__main__":
    sys.exit(main())
