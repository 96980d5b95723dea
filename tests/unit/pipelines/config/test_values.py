"""`key=value` as people type it: any text that a file system allows is a path, on the command line and everywhere."""

from __future__ import annotations

import pytest

from pipelines.config.compose import changed_keys, compose_config
from pipelines.config.values import as_meant, assign, kinds_at
from pipelines.errors import UserError

pytestmark = pytest.mark.unit
NAMES = ("été", "photos (1)", "John's", "epoch=3", "run#3", "~/x", "R&D", "data[2024]", "x,y", "a!b", "日本", "2024",
         "1e3", "true", "a\\b", "a\\'b", "ends\\", "{00..02}.tar", "{a}", "[a]", "a:b", "new\nline", "?x",
         "a'b\"c")  # fmt: skip


def path_of(*overrides):
    return compose_config(["preset=tiny", "source=folder", *overrides]).source.path


def test_a_path_is_what_was_typed_whatever_characters_it_has():
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    for name in (*NAMES, *(f"/data/{name}" for name in NAMES)):
        assert parser.parse_override(as_meant(f"source.path={name}")).value() == name
    assert path_of("source.path=/data/été (1), John's=#~[2024]") == "/data/été (1), John's=#~[2024]"


def test_an_option_of_a_store_is_that_text_and_refers_to_nothing():
    text = "/data/${image_size}/a'b (1)\\"
    assert compose_config([assign("store", text)]).store == text


def test_quotes_references_null_and_dicts_of_the_command_line_keep_their_meaning():
    assert path_of("source.path='/a (1)'") == "/a (1)"
    assert path_of("source.path=/é/${image_size}") == "/é/32"
    pictures = compose_config(["source=pictures", "source.path={openmoji: null, noto: /a}"])
    assert pictures.source.path == {"openmoji": None, "noto": "/a"}
    assert compose_config(["source=pictures", "source.path=null"]).source.path is None


def test_a_list_without_brackets_and_an_unknown_key_are_refused_in_words():
    with pytest.raises(UserError, match="in brackets"):
        compose_config(["seed=1,2"])
    with pytest.raises(UserError, match="foo: unknown key"):
        compose_config(["foo=été (1)"])
    with pytest.raises(UserError, match=r"tokenizer\.model\.channels"):
        compose_config(["preset=tiny", "tokenizer.channels=3"])


def test_paths_that_a_shell_made_of_braces_are_refused_with_the_quotes_that_help():
    with pytest.raises(UserError, match=r"given twice.*quotes"):
        compose_config(["source=webdataset", "source.shards=/data/00000.tar", "source.shards=/data/00001.tar"])
    with pytest.raises(UserError, match=r"given twice, as 'seed=1' and 'seed=2': leave one out\.$"):
        compose_config(["seed=1", "seed=2"])


def test_a_folder_of_presets_may_have_any_name(tmp_path):
    folder = tmp_path / "Projets été (1), John's"
    (folder / "preset").mkdir(parents=True)
    (folder / "preset" / "mine.yaml").write_text("# @package _global_\ndefaults: [tiny]\nseed: 7\n")
    assert compose_config(["preset=mine"], str(folder)).seed == 7


def test_every_command_takes_the_store_of_the_environment_unless_it_is_given(monkeypatch):
    monkeypatch.setenv("PIXSEM_STORE", "/scratch/été (1)")
    assert compose_config(["preset=tiny"]).store == "/scratch/été (1)"
    assert compose_config(["preset=tiny", "store=/other"]).store == "/other"
    assert ("store", "/scratch/été (1)", "from PIXSEM_STORE") in changed_keys(["preset=tiny"])


def test_what_a_key_may_hold_is_read_from_the_schema():
    assert kinds_at(["source", "path"]) >= {str, dict}
    assert kinds_at(["seed"]) == {int}
    assert kinds_at(["execution", "resources", "measure", "labels", "gpu"]) == {str}
    assert kinds_at(["no", "such"]) == set()
