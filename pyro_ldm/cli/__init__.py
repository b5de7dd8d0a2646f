"""The command line: ``pyro-ldm fit DATA --prior ... --entropy ... --encoder ... --out RUN`` and ``pyro-ldm list``."""

from pyro_ldm.cli.commands import main
from pyro_ldm.cli.program import Program

__all__ = ["Program", "main"]
