"""Several sources in the configuration: given by hand or by a preset, with the file that says each key, and refused in
words.
"""

from __future__ import annotations

import pytest

from pipelines.config.compose import changed_keys, compose_config
from pipelines.config.source_kinds import judged_source, serving_sources
from pipelines.errors import UserError

pytestmark = pytest.mark.unit
TWO = [
    "preset=tiny", "source@sources.drawn=scenes_tiny", "+source@sources.photos=folder", "sources.photos.path=/data/x"
]  # fmt: skip


def test_each_source_has_the_keys_of_its_kind_and_serves_all_unless_told_otherwise():
    sources = compose_config([*TWO, "sources.drawn.use=[tokenizer]"]).named_sources()
    assert [(name, source.kind) for name, source in sources.items()] == [("drawn", "scenes"), ("photos", "folder")]
    assert serving_sources(sources) == {
        "tokenizer": ["drawn", "photos"], "text_to_image": ["photos"], "editing": ["photos"]
    }  # fmt: skip
    assert judged_source(sources) is None and judged_source(compose_config(TWO).named_sources())[0] == "drawn"
    assert compose_config(TWO).source is None and list(compose_config(["preset=tiny"]).named_sources()) == [""]


def test_a_users_preset_names_sources_and_the_command_line_goes_before_it(tmp_path):
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - tiny\n  - /source@sources.photos: folder\n"
        "sources:\n  photos: {path: /data/x, use: [tokenizer]}\n"
    )
    found = {key: (value, place) for key, value, place in changed_keys(["preset=mine"], str(tmp_path))}
    assert found["sources.photos.path"] == ("/data/x", f"from {tmp_path}/preset/mine.yaml")
    assert found["sources.photos.samples_per_shard"] == (500, "from conf/source/folder.yaml")
    more = ["preset=mine", "source@sources.more=scenes_tiny", "sources.photos.path=/data/y"]
    sources = compose_config(more, str(tmp_path)).named_sources()
    assert sources["photos"].path == "/data/y" and sources["more"].count == 240
    other = compose_config(["preset=mine", "source@sources.photos=parquet"], str(tmp_path))
    assert other.named_sources()["photos"].kind == "parquet"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("source.count=3", "source.count=3: this configuration has several sources"),
        ("source=folder", "source=folder: this configuration has several sources"),
        ("sources.photos.pth=3", r"unknown key; did you mean 'sources.photos.path'\? \(from the command line\)"),
        ("sources.photos.shards=a", "it belongs to source=webdataset"),
        ("sources.drawn.weight=2", "sources.photos serves tokenizer and has no weight"),
        ("sources.photos.weight=0", "sources.photos.weight: Input should be greater than 0"),
        ("sources.photos.use=[]", "sources.photos.use: Tuple should have at least 1 item"),
        ("source@sources.Third=scenes", "should match pattern"),
        ("source@sources.third=scnes", "no such source; did you mean 'scenes'"),
        ("source@other.third=scenes", "no such place of a group"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_key_and_what_to_do(more, words):
    with pytest.raises(UserError, match=words):
        compose_config([*TWO, more])


def test_the_papers_set_up_resolves_with_a_job_for_each_source():
    sources = compose_config(["preset=paper_data"]).named_sources()
    assert {name: source.use for name, source in sources.items()} == {
        "imagenet": ("tokenizer",), "cc12m": ("text_to_image",), "omniedit": ("editing",)
    }  # fmt: skip
