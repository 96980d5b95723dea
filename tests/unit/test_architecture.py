"""How the tree is built: no import circle at any depth, and no two files of one name with different jobs. Layers are
import-linter's.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import grimp
import pytest

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[2]
ENTRY = ("pipelines.job", "pipelines.cli.main")  # under `__main__`: what a submitted job starts
SAME_JOB = {
    "__init__.py",
    "options.py",  # a room's options
    "gates.py",  # what a gate is, and whether gates can be passed
}


def test_no_modules_import_each_other_not_even_inside_functions():
    graph = grimp.build_graph("components", "pipelines")
    graph.remove_import(importer=ENTRY[0], imported=ENTRY[1])
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    while leaves := [module for module, needed in imports.items() if not needed & imports.keys()]:
        for module in leaves:
            del imports[module]
    assert not imports, f"in a circle, or before one: {sorted(imports)}"


def test_a_file_name_stands_for_one_job():
    names = Counter(path.name for room in ("components", "pipelines") for path in (ROOT / room).rglob("*.py"))
    assert {name for name, count in names.items() if count > 1} <= SAME_JOB


def test_no_file_of_the_product_is_longer_than_a_screenful_of_screens():
    long = {
        p.relative_to(ROOT).as_posix(): n
        for room in ("components", "pipelines")
        for p in (ROOT / room).rglob("*.py")
        if (n := len(p.read_text("utf-8").splitlines())) > 400
    }
    assert not long
