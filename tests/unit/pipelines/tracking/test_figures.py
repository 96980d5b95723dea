"""Which figures a configuration gives: of any data, of scenes, of the pictures world."""

from __future__ import annotations

import pytest

from components.pictures.options import PictureOptions
from pipelines.config.compose import compose_config
from pipelines.config.source_kinds import PicturesSource
from pipelines.tracking.figures import figure_name, generator_figures, other_figures, skipped_gates

pytestmark = pytest.mark.unit
SPLITS = ("", "chance.", "ceiling.", "seen.")


def of_pictures(**options):
    """A configuration of the pictures world, with the gates for it."""
    source = PicturesSource(kind="pictures", path=None, samples_per_shard=100, picture=PictureOptions(**options))
    return compose_config(["preset=tiny", "gates=pictures"]).model_copy(update={"source": source})


def test_pictures_give_every_figure_of_their_world_where_there_are_compositions_and_edits_of_them():
    found = generator_figures(of_pictures(compositions=1, composition_edits=1))
    assert {name.rsplit(".", 1)[1] for name, why in found.items() if why} == {"lpips"}  # no weights are named
    names = ("overall", "single_object", "position", "exact", "concept", "skin_tone")
    assert {f"text_to_image.{split}{name}" for split in SPLITS for name in names} <= found.keys()
    edits = ("success", "by_factor", "hair", "multiply", "removal_ghosts", "preservation_psnr")
    assert {f"editing.{name}" for name in edits} <= found.keys()
    assert "text_to_image.unseen.overall" not in found


@pytest.mark.parametrize(
    ("options", "figures", "why"),
    [
        ({"composition_edits": 1}, ["text_to_image.counting", "text_to_image.seen.position"], "compositions is 0"),
        ({"compositions": 1}, ["editing.mirror", "editing.removal_residue"], "composition_edits is 0"),
        ({"factor_edits": 0, "composition_edits": 1}, ["editing.by_factor", "editing.colour"], "factor_edits is 0"),
        ({"factor_edits": 0}, ["editing.success", "editing.ceiling"], "factor_edits and composition_edits are 0"),
    ],
)
def test_a_figure_of_pictures_that_the_configuration_leaves_out_says_which_key_does_so(options, figures, why):
    found = generator_figures(of_pictures(**options))
    assert all(why in found[name] for name in figures)
    assert found["text_to_image.exact"] == found["text_to_image.single_object"] == ""


def test_pictures_of_which_none_is_held_out_give_only_the_figures_of_any_data():
    given = {name for name, why in generator_figures(of_pictures(combinations_held_out=0)).items() if not why}
    assert "text_to_image.retrieval" in given
    of_any = generator_figures(compose_config(["preset=tiny", "source=folder", "source.path=x"]))
    assert given == {name for name, why in of_any.items() if not why}


def test_a_world_skips_no_gate_of_its_own_and_those_of_another_world_alone():
    pictures = of_pictures()
    assert skipped_gates(pictures) == {}
    assert other_figures(pictures)["editing.replace_shape"] == "only scenes have it, and the source is pictures"
    scenes = compose_config(["preset=tiny", "source=scenes", "gates=pictures"])
    assert set(skipped_gates(scenes)) == {"text_to_image.exact", "text_to_image.concept", "editing.by_factor"}
    assert not other_figures(scenes).keys() & generator_figures(scenes).keys()


def test_any_data_has_figures_of_captions_and_edits_in_every_named_feature_and_by_every_named_image_text_model():
    changes = ("evaluate_generator.features={dino: facebook/dinov2-small}",
               "evaluate_generator.judges={clip: {kind: image_text, path: openai/clip-vit-base-patch32}}")  # fmt: skip
    found = generator_figures(compose_config(["preset=tiny", "source=folder", "source.path=x", *changes]))
    for group in ("", "chance.", "ceiling."):
        names = ("similarity_clip", "similarity_trained_encoder", "kernel_dino", "coverage_dino", "retrieval")
        assert {f"text_to_image.{group}{name}" for name in names} <= found.keys()
    for group in ("", "of_source.", "of_reconstructions.", "of_others."):
        assert {f"editing.{group}{name}" for name in ("psnr", "nearer_target_dino")} <= found.keys()
    assert "lpips_weights" in found["editing.of_source.lpips"]
    assert figure_name("editing.by_kind.swap_sky.psnr") == "editing.psnr"
    assert figure_name("text_to_image.by_source.photos.similarity_clip") == "text_to_image.similarity_clip"
