"""Imports go down the list of layers, never up."""

import ast
from pathlib import Path

import pyro_ldm

PACKAGE = Path(pyro_ldm.__file__).parent
# Each layer may import those before it, and itself.
LAYERS = [
    {"entropy", "devices", "terms"},
    {"distributions", "encoders"},
    {"handlers", "priors", "guides"},
    {"compatibility", "objective"},
    {"training"},
    {"ica", "diagnostics"},
    {"posterior", "baselines"},
    {"runs"},
    {"cli"},
]
APART = [{"priors", "guides"}, {"posterior", "baselines"}]  # of one layer, and neither may import the other
STANDALONE = {"datasets"}


def layer_of(part: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if part in layer)


def imported_parts(path: Path):
    """The package's parts that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pyro_ldm":
            tail = node.module.split(".")[1:]
            names = [tail[0]] if tail else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name.split(".")[1] for a in node.names if a.name.startswith("pyro_ldm.")]
        yield from names


def test_imports_go_down():
    known = set().union(*LAYERS) | STANDALONE
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        assert part in known, f"{path} belongs to no layer"
        for other in imported_parts(path):
            if other == part or (part == "cli" and other in known) or (part == "runs" and other == "datasets"):
                continue
            allowed = (
                part not in STANDALONE
                and other not in STANDALONE
                and layer_of(other) <= layer_of(part)
                and not any({part, other} <= pair for pair in APART)
            )
            if not allowed:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
    assert not wrong, wrong


def test_recipes_and_benchmarks_import_the_public_package_only():
    root = Path(__file__).parents[1]
    wrong = []
    for path in [*root.glob("models/*.py"), *root.glob("benchmarks/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyro_ldm."):
                wrong.append(f"{path.name} imports from {node.module}")
    assert not wrong, wrong
