"""Which code made an artifact: what counts as a change of it, whom it concerns, and what is said and done."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pipelines.config.compose import compose_config
from pipelines.store.files import Store
from pipelines.workflow.code_digests import _parts, _referred, changed_rooms, code_of
from pipelines.workflow.graph import build_workflow
from pipelines.workflow.identity import identify
from pipelines.workflow.launch import dry_run_listing
from tests.unit.pipelines.workflow.cached_chain import commit_all

pytestmark = pytest.mark.unit
CODE = '''"""A module."""
import components.data.tables


class A:
    """A class."""

    def f(self, x: int) -> int:
        """Add."""
        from components.curation import signals  # in a function

        return x + 1  # why


USED = "components.tokenizer.vae:build"
'''


def text(code: str) -> str:
    return "".join(_parts(ast.parse(code)))


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('"""Add."""', '"""Add one to x."""', True),
        ('        """Add."""\n', "", True),
        ("  # why", "", True),
        ("x + 1", "(x\n            + 1)", True),
        ("x + 1", "x + 2", False),
        ("x: int", "y: int", False),
        ("tokenizer.vae:build", "tokenizer.vae:make", False),
    ],
)
def test_comments_docstrings_and_formatting_are_no_change_of_code(old, new, same):
    assert old in CODE
    assert (text(CODE.replace(old, new)) == text(CODE)) is same


def test_imports_at_any_depth_and_references_in_strings_are_followed():
    found = set(_referred(ast.parse(CODE)))
    assert {"components.data.tables", "components.curation.signals", "components.tokenizer.vae"} <= found


def test_a_stage_is_concerned_by_the_rooms_it_uses_and_by_no_other():
    code = code_of(build_workflow())
    assert set(code) == {stage.name for stage in build_workflow()}
    assert "components/generator" in code["train_editor"] and "components/generator" not in code["train_tokenizer"]
    assert "components/curation/editing" in code["synthesize_edits"] and "components/tokenizer" not in code["curate"]
    assert all(
        Path(room).is_relative_to("components") or Path(room).is_relative_to("pipelines") for room in code["measure"]
    )
    assert changed_rooms({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == ["b", "c"]
    assert changed_rooms({}, {"a": "1"}) == []


@pytest.fixture
def store(tmp_path) -> Store:
    """The tiny chain's stages, all cached; measure by other code of two rooms, curate by code that was not recorded."""
    made, config = Store(str(tmp_path)), compose_config(["preset=tiny"])
    own = identify(build_workflow(), config, made)["measure"].code
    code = {"measure": {**own, "components/data": "0" * 16, "components/gone": "1"}, "curate": {}}
    commit_all(made, config, code)
    return made


def test_what_other_code_made_is_named_and_run_again_only_where_that_is_asked_for(store):
    noted = {r["stage"]: r for r in dry_run_listing(store, compose_config(["preset=tiny"]), None, [])}
    assert all(row["cached"] for row in noted.values())
    assert {name: row["note"] for name, row in noted.items() if row["note"]} == {
        "measure": "made by older code of components/data, components/gone"
    }
    again = dry_run_listing(store, compose_config(["preset=tiny", "execution.on_code_change=rerun"]), None, [])
    assert [(r["stage"], r["reasons"]) for r in again if not r["cached"] and not r["conditional"]] == [
        ("measure", ["made by older code of components/data, components/gone"])
    ]


def test_a_manifest_without_recorded_code_is_written_as_it_was_before_there_was_any(store):
    (path,) = store.local("artifacts/curate").rglob("manifest.json")
    assert '"code"' not in path.read_text()
    listed = {r["stage"] for r in dry_run_listing(store, compose_config(["preset=tiny"]), None, []) if r["cached"]}
    assert "curate" in listed
