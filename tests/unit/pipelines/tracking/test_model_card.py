"""Model cards: figures with what they are held against, the hub's form, and nothing that changes from run to run."""

from __future__ import annotations

import re

import pytest
from huggingface_hub import ModelCard

from components.registry.gates import Verdict
from pipelines.store.files import Store
from pipelines.tracking.examples import example_prompt
from pipelines.tracking.export import LOAD_PLAIN, _loaded_plainly
from pipelines.tracking.model_card import description, figures_of, gates_text, labels, outcome, readme
from tests.unit.registry.small_world import artifacts

pytestmark = pytest.mark.unit
LINKS = {"train_editor": "#/experiments/1/runs/e"}


@pytest.fixture
def made(tmp_path):
    store = Store(str(tmp_path / "store"))
    store.prepare()
    return artifacts(store)


def card(made, verdicts=(), champion=None, note="") -> str:
    return description(
        "generator", "pixsem-generator", "3", made, verdicts, champion, note, LINKS,
        {"generated.png": "get-artifact?a=b"}, example_prompt(made["evaluate_generator"]),
    )  # fmt: skip


def test_a_figure_stands_beside_its_interval_chance_and_ceiling_whichever_way_they_are_told():
    metrics = {
        "text_to_image": {
            "overall": 0.5, "frechet_clip": 4.0, "frechet_clip_of_reconstructions": 1.0, "similarity_clip": 0.3,
            "chance": {"overall": 0.1, "similarity_clip": 0.2}, "ceiling": {"overall": 0.9},
            "retrieval_pool": 16, "seconds_per_image": 0.2, "by_guidance": {"2": 0.4},
        },
        "editing": {
            "success": 0.4, "chance": 0.0, "ceiling": 0.8, "copy_source": 0.1, "psnr": 20.0,
            "of_source": {"psnr": 18.0}, "of_reconstructions": {"psnr": 30.0}, "of_others": {"psnr": 9.0},
        },
        "intervals": {"text_to_image.overall": [0.4, 0.6]},
    }  # fmt: skip
    found = {f.name: (f.value, f.interval, f.chance, f.ceiling) for f in figures_of(metrics)}
    assert found == {
        "text_to_image.overall": (0.5, (0.4, 0.6), 0.1, 0.9),
        "text_to_image.frechet_clip": (4.0, None, None, 1.0),
        "text_to_image.similarity_clip": (0.3, None, 0.2, None),
        "editing.success": (0.4, None, 0.0, 0.8),
        "editing.psnr": (20.0, None, 9.0, 30.0),
    }
    assert list(found)[:2] == ["text_to_image.overall", "editing.success"]  # headlines first


def test_the_readme_is_a_model_card_of_the_hub(made):
    told = ModelCard(readme(made, "a red circle"))
    assert told.data.library_name == "diffusers" and told.data.pipeline_tag == "text-to-image"
    assert told.data.license is None  # nobody has said which
    assert "![Pictures made from held-out prompts](samples.png)" in told.text
    assert "| text_to_image.overall | 0.51 | 0.4475 to 0.5725 | 0.125 | 0.96 |" in told.text
    assert "| scenes | scenes | 100 | Ann Artist (CC BY 4.0) |" in told.text


def test_the_readme_depends_on_no_run_no_time_and_no_registry(made, tmp_path):
    store = Store(str(tmp_path / "another"))
    store.prepare()
    text = readme(made, "a")
    assert text == readme(artifacts(store), "a") == readme(dict(reversed(made.items())), "a")
    assert "seconds" not in text and "champion" not in text and "/runs/" not in text


def test_an_exported_pipelines_readme_says_how_plain_diffusers_opens_it(made):
    text = _loaded_plainly(readme(made, "a"))
    assert LOAD_PLAIN in text and "load_pipeline" not in text and "## Figures" in text
    assert LOAD_PLAIN in _loaded_plainly("# of a folder without a card\n")


def test_a_card_names_gates_champion_lineage_and_pictures(made):
    verdicts = [
        Verdict("a", True, "a is 1"), Verdict("b", False, "b is 0, 1 below the limit 1"),
        Verdict("c", True, "the gate on c was skipped: no such data", skipped=True),
    ]  # fmt: skip
    text = card(made, verdicts, ("2", {"text_to_image.overall": 0.4}))
    assert "champion then, version 2" in text and re.search(r"text_to_image.overall.*\| 0\.4 \|", text)
    assert "- passed: a is 1\n- **failed**: b is 0" in text and "- skipped: the gate on c" in text
    assert "[train_editor](#/experiments/1/runs/e)" in text and "(get-artifact?a=b)" in text
    assert 'load_pipeline("models:/pixsem-generator/3")' in text
    assert "judged by another evaluation" in card(made, note="version 1 was judged by another evaluation")
    assert outcome(verdicts) == "refused: b"
    assert outcome(verdicts[::2]) == "passed 1 of 1 gates" and outcome(verdicts[2:]) == "no gate was held"
    assert gates_text([]) == "None was asked for."
    assert labels(made) == {
        "trained_on": "90 of 100 samples", "latent_space": "ps_vae", "picture_size": "64 pixels"
    }  # fmt: skip


def test_texts_from_data_break_no_table_no_code_and_no_shell(made):
    made["ingest"].manifest.metrics["ingest"]["attribution"] = "x | <b>[y](z) $(reboot) `w`"
    text = card(made, [Verdict("m", False, 'm | "<script>" is 0')])
    row = next(line for line in text.splitlines() if line.startswith("| scenes"))
    assert row.count("|") == 5 and "<" not in row and "[" not in row
    assert "<script>" not in text
    assert "$(" not in readme(made, 'a" ; $(reboot) `x`')
