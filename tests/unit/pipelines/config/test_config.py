"""The configuration: one place for every default, typed, and traced to its origin."""

from __future__ import annotations

import dataclasses

import pytest

from components.curation.editing.options import EditOptions
from components.curation.options import CurationRules, FaultOptions, ImageLimits
from components.data.options import DownloadOptions, FolderOptions, ShardLimits, UrlListOptions
from components.scenes.options import SceneOptions
from pipelines.config.compose import compose_config, flatten, load_config, to_dict, to_yaml
from pipelines.errors import UserError

pytestmark = pytest.mark.unit


def test_conf_states_every_key_with_the_rooms_own_defaults():
    base = compose_config([])
    # The demo's scenes are simpler than the room's own, in exactly these.
    assert base.source.scene == dataclasses.replace(
        SceneOptions(), colours=("red", "orange", "yellow", "green", "blue", "purple"), sizes=("large",), fills=("solid",),
        backgrounds=("white", "grey", "black"), graded=0.0, placement="grid",
        held_out=("purple triangle", "orange diamond", "green circle"),
    )  # fmt: skip
    assert base.source.faults == FaultOptions()
    assert base.curate == CurationRules()
    assert base.measure.limits == ImageLimits()
    assert base.synthesize_edits.photos == EditOptions()
    urls = compose_config(["source=urls", "source.path=x.csv"]).source
    assert (urls.columns, urls.download) == (UrlListOptions(), DownloadOptions())
    assert compose_config(["source=folder", "source.path=x"]).source.files == FolderOptions()
    assert compose_config(["source=webdataset", "source.shards=x"]).source.limits == ShardLimits()
    from pipelines.config.compose import CONF

    written = "".join(path.read_text() for path in CONF.rglob("*.yaml"))
    for key in flatten(to_dict(base)):
        assert f"{key.rsplit('.', 1)[-1]}:" in written or key == "preset"


def test_a_kept_configuration_reads_back_as_it_was():
    config = compose_config(["preset=tiny", "curate.languages=[en,de]", "seed=7"])
    assert load_config(to_yaml(config), "config.yaml") == config
    assert (config.preset, config.seed, config.curate.languages) == ("tiny", 7, ("en", "de"))


def test_the_preset_says_only_what_differs():
    base, tiny = flatten(to_dict(compose_config([]))), flatten(to_dict(compose_config(["preset=tiny"])))
    changed = {key for key in base if base[key] != tiny.get(key)}
    models = ("encoder.", "tokenizer.", "latents.", "generator.", "evaluate_", "execution.")  # smaller, all of them
    assert {key for key in changed if not key.startswith(models)} == {
        "preset", "source.count", "source.samples_per_shard", "curate.max_caption_repeats", "image_size", "held_out",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["curate.max_aspec=2"], "did you mean 'curate.max_aspect'? (from the command line)"),
        (["source.scene.shapes=[circle,squar]"], "did you mean 'square'?"),
        (["source.scene.max_objects=two"], "source.scene.max_objects"),
        (["execution.resources.mesure.cpus=2"], "did you mean 'execution.resources.measure'?"),
        (["+curate.new=1"], "none can be added or removed"),
        (["cluster.address=ray://x", "cluster.num_cpus=2"], "cluster.num_cpus is for a local Ray only"),
        (["source=url"], "did you mean 'urls'?"),
        (["source=urls"], "source.path: must be given"),
        (["curate.min_words=5", "curate.max_words=2"], "every caption would be dropped"),
        (["source.kind=movies"], "source"),
        (["tokenizer.pixel_decoder.kind=conv"], "the start from patch PCA needs pixel_decoder.kind=patch"),
        (
            [
                "tokenizer.training.zero_stage=3",
                "tokenizer.training.optimizer.kind=adamw",
                "tokenizer.losses.gan=1",
                "tokenizer.losses.gan_start=0.5",
            ],
            "tokenizer.training.zero_stage is 3, which splits",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_key_and_origin(overrides, words):
    with pytest.raises(UserError) as caught:
        compose_config(overrides)
    assert words in str(caught.value)


def test_a_key_of_another_source_is_refused():
    with pytest.raises(UserError, match=r"source\.count: unknown key"):
        compose_config(["source=folder", "source.path=x", "source.count=3"])
