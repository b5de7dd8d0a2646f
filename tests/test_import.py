"""Importing the package stays light: what only some runs need is imported where it is used."""

import subprocess
import sys

LAZY = ["arviz", "pytorch_lightning", "matplotlib", "jsonargparse", "pandas", "sklearn", "scipy", "PIL", "zuko"]


def test_heavy_packages_are_imported_lazily():
    code = (
        "import sys, torch, pyro; before = set(sys.modules); import pyro_ldm; "
        f"print([m for m in {LAZY} if m in set(sys.modules) - before])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
