"""Prints the lowest version that pyproject.toml allows of each package, as constraints for pip: `make oldest`.

torch is left out: its old builds bring gigabytes of GPU libraries. The Makefile says which one is installed.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
wanted = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
for line in sorted(set(wanted)):
    name, lowest = re.match(r"([\w.-]+)(?:\[[^]]*\])?>=([\w.]+)", line).groups()
    if name != "torch":
        print(f"{name}=={lowest}")
