"""Sets of drawings: the package, a folder, a tar, several of them as styles, and what is no set."""

from __future__ import annotations

import itertools
import tarfile

import pytest

from components.pictures import sets
from components.pictures.draw import MAX_BYTES
from components.pictures.factors import parse_codes
from components.pictures.sets import attribution, read_sets, set_files, sets_of
from tests.unit.pictures.drawings import HEARTS, PACKAGED, WAVING, copy_drawings

pytestmark = pytest.mark.unit


def tar_of(path, folder, mode="w"):
    with tarfile.open(path, mode) as archive:
        archive.add(folder, "set")
    return path


def read(path):
    return list(read_sets(path))


def test_without_a_path_the_package_is_read_and_its_artists_are_named():
    found = list(itertools.islice(read_sets(None), 3))
    assert [f.style for f in found] == ["openmoji"] * 3 and all(f.suffix == ".svg" for f in found)
    assert found[0].data == (PACKAGED / f"{found[0].stem}.svg").read_bytes()
    assert "OpenMoji" in attribution(None) and "CC BY-SA 4.0" in attribution(None)
    assert set_files(None) == []


def test_a_folder_is_read_with_its_subfolders_in_one_order_and_without_other_files(tmp_path):
    folder = copy_drawings(tmp_path / "My Set", WAVING)
    copy_drawings(folder / "hearts", HEARTS[:2])
    (folder / "LICENSE.txt").write_text("mine")
    (folder / "1F34E.SVG").write_bytes((PACKAGED / "1F34E.svg").read_bytes())
    found = read(str(folder))
    assert {f.style for f in found} == {"my_set"} and len(found) == 9
    assert [f.stem for f in found] == [f.stem for f in read(f"{folder}/")]
    assert {f.suffix for f in found} == {".svg"}
    assert found[0].origin == "my_set/1F34E.svg"
    assert sorted(p.stem for p in set_files(str(folder))) == sorted(f.stem for f in found)
    assert attribution(str(folder)) == ""


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_tar_gives_the_drawings_of_its_folder_and_unpacks_nothing(tmp_path, mode):
    folder = copy_drawings(tmp_path / "set", WAVING)
    tar = tar_of(tmp_path / "set.tar", folder, mode)
    before = sorted(tmp_path.rglob("*"))
    assert [(f.stem, f.suffix, f.data) for f in read(str(tar))] == [
        (f.stem, f.suffix, f.data) for f in read(str(folder))
    ]
    assert sorted(tmp_path.rglob("*")) == before and set_files(str(tar)) == [tar]


def test_several_sets_are_styles_and_the_package_can_be_one_of_them(tmp_path):
    first, second = copy_drawings(tmp_path / "a", WAVING[:2]), copy_drawings(tmp_path / "b", WAVING[1:3])
    tar = tar_of(tmp_path / "b.tar", second)
    found = read({"flat": str(first), "round": str(tar)})
    drawn = {(f.style, f.stem) for f in found}
    assert drawn == {("flat", WAVING[0]), ("flat", WAVING[1]), ("round", WAVING[1]), ("round", WAVING[2])}
    assert [f.style for f in found] == ["flat", "flat", "round", "round"]
    assert set_files({"flat": str(first), "round": str(tar)}) == [*sorted(first.glob("*.svg")), tar]
    mixed = {"mine": str(first), "openmoji": None}
    assert [f.style for f in itertools.islice(read_sets(mixed), 3)] == ["mine", "mine", "openmoji"]
    assert attribution(mixed) and not attribution({"mine": str(first)})


def test_notos_and_twemojis_names_are_the_same_drawings(tmp_path):
    for folder, name in (
        ("noto", "emoji_u1f44b_1f3fb.png"),
        ("twemoji", "1f44b-1f3fb.svg"),
        ("own", "U1F44B-1F3FB.webp"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"any")
    found = read({name: str(tmp_path / name) for name in ("noto", "twemoji", "own")})
    assert [f.suffix for f in found] == [".png", ".svg", ".webp"]
    assert {parse_codes(f.stem) for f in found} == {(0x1F44B, 0x1F3FB)}


def test_names_without_code_points_are_given_on_so_that_each_ends_with_a_reason(tmp_path):
    copy_drawings(tmp_path / "set", WAVING[:1])
    (tmp_path / "set" / "waving_hand.svg").write_bytes(b"<svg/>")
    assert [f.stem for f in read(str(tmp_path / "set"))] == [WAVING[0], "waving_hand"]


def test_a_file_that_is_too_large_is_named_and_not_read(tmp_path):
    folder = copy_drawings(tmp_path / "set", WAVING[:1])
    with (folder / "1F34E.svg").open("wb") as handle:
        handle.truncate(MAX_BYTES + 1)
    for path in (folder, tar_of(tmp_path / "set.tar", folder)):
        large, small = read(str(path))
        assert (large.stem, large.data, small.stem) == ("1F34E", None, WAVING[0]) and small.data


def test_an_empty_set_and_a_path_that_is_no_set_are_refused_in_words(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"no drawings are there; they are files such as 1F44B-1F3FB\.svg"):
        read(str(empty))
    with pytest.raises(ValueError, match="the tar holds no drawings"):
        read(str(tar_of(tmp_path / "empty.tar", empty)))
    for path in ("nowhere", {"a": str(tmp_path / "gone.tar")}):
        with pytest.raises(ValueError, match="there is no folder or tar"):
            read(path)
    with pytest.raises(ValueError, match="names no set"):
        sets_of({})


@pytest.mark.parametrize("style", ["Flat", "flat style", "", "flat-2", "a.b"])
def test_a_style_is_a_word_of_a_caption(style):
    with pytest.raises(ValueError, match="is a word of a caption; use small letters"):
        sets_of({style: None})
    assert sets_of({"flat_2": None}) == {"flat_2": None}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_broken_tar_is_refused_and_no_drawing_of_it_is_lost_unsaid(tmp_path, mode):
    folder = copy_drawings(tmp_path / "set", WAVING)
    whole = tar_of(tmp_path / "whole.tar", folder, mode).read_bytes()
    given = {(f.stem, f.data) for f in read(str(folder))}
    broken = tmp_path / "broken.tar"
    for data in (b"", b"junk" * 500, whole[:40], whole[: len(whole) // 2]):
        broken.write_bytes(data)
        with pytest.raises(ValueError, match="cannot be read as a tar"):
            read(str(broken))
    for place in range(0, len(whole) - 8, 67):
        broken.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = read(str(broken))
        except ValueError as error:
            assert "tar" in str(error)
        else:  # in a plain tar no checksum is over a file's own bytes, and its names are
            assert len(found) == len(given) and {f.stem for f in found} == {stem for stem, _ in given}
            assert mode == "w" or {(f.stem, f.data) for f in found} == given


def test_more_drawings_than_are_read_are_refused(tmp_path, monkeypatch):
    folder = copy_drawings(tmp_path / "set", WAVING)
    tar = tar_of(tmp_path / "set.tar", folder)
    monkeypatch.setattr(sets, "MAX_FILES", 5)
    for path in (folder, tar):
        with pytest.raises(ValueError, match="holds 6 drawings; 5 are read"):
            read(str(path))
