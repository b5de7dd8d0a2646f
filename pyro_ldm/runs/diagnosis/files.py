"""The files of a diagnosis: written under a hidden name within the run's folder, and moved to their places whole."""

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyro_ldm.diagnostics.arviz import Tree, save
from pyro_ldm.runs.report import Section, report

PICTURES = ("kl", "check", "parameters", "priors", "recovery")  # those not made anew are removed
HIDDEN = ".diagnosis.partial"
VERSIONS = {"created_at": "diagnosed at", "pyro_ldm_version": "pyro_ldm", "arviz_version": "arviz"}


def write_diagnosis(
    folder: Path, sections: Sequence[Section], tree: Tree, *, title: str, subtitle: str, facts: Mapping[str, Any]
) -> tuple[Path, ...]:
    """Write ``report.html``, ``diagnosis.json``, ``posterior.nc`` and the pictures that have a name.

    Args:
        folder: The run's.
        sections: The report's.
        tree: For ``posterior.nc``.
        title: Of the report.
        subtitle: Of the report.
        facts: Settings and versions.

    Returns:
        The files, each in its place.
    """
    place = folder / HIDDEN
    shutil.rmtree(place, ignore_errors=True)  # of one that was killed
    place.mkdir()
    try:
        pictures = {f"{p.name}.png": p.png for section in sections for p in section.pictures if p.name}
        for name, png in pictures.items():
            (place / name).write_bytes(png)
        save(tree, place / "posterior.nc")
        (place / "diagnosis.json").write_text(json.dumps(_as_json(sections, facts), indent=2) + "\n", encoding="utf-8")
        page = report(title, sections, subtitle=subtitle, facts=facts)
        (place / "report.html").write_text(page, encoding="utf-8")
        names = [*sorted(pictures), "posterior.nc", "diagnosis.json", "report.html"]
        for name in names:
            os.replace(place / name, folder / name)
        for name in {f"{name}.png" for name in PICTURES} - set(names):
            (folder / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return tuple(folder / name for name in names)


def facts(
    folder: Path, summary: Mapping[str, Any], settings: Mapping[str, Any], versions: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings and versions, of the run and of its diagnosis.

    Args:
        folder: The run's, whose ``config.yaml`` is read if there is one.
        summary: The run's ``summary.json``.
        settings: The diagnosis's; those that are ``None`` are left out.
        versions: Attributes of its tree.
    """
    import yaml

    config = folder / "config.yaml"
    options = (yaml.safe_load(config.read_text()) if config.is_file() else {}) | summary.get("settings", {})
    chosen = {name: value for name, value in options.items() if value is not None and value is not False}  # 0 is
    found = {name: _short(value) for name, value in chosen.items() if value != []}
    found |= {f"fitted with {name}": version for name, version in summary.get("versions", {}).items()}
    found |= {f"diagnosis: {name}": value for name, value in settings.items() if value is not None}
    return found | {name: versions[attribute] for attribute, name in VERSIONS.items() if attribute in versions}


def _short(choice: Any) -> Any:
    """A choice by its class and options, as one would call it; what is no such choice as it is."""
    if not isinstance(choice, dict) or "class_path" not in choice:
        return choice
    options = (f"{name}={_short(value)}" for name, value in (choice.get("init_args") or {}).items())
    return f"{choice['class_path'].rpartition('.')[2]}({', '.join(options)})"


def _as_json(sections: Sequence[Section], facts: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {name: float(value) for section in sections for name, value in section.numbers.items()}
    return {
        "verdicts": {section.title: section.verdict for section in sections if section.verdict},
        "good": {section.title: section.good for section in sections if section.verdict},
        "numbers": {name: value if math.isfinite(value) else None for name, value in numbers.items()},
        "facts": {name: str(value) for name, value in facts.items()},
    }
