"""What a file's name says: concept, skin tone, gender, hair, direction, colour, time and phase."""

from __future__ import annotations

import pytest

from components.pictures.factors import NoCodePoints, Parsed, parse, parse_codes, plain_name, template
from components.pictures.options import FACTORS
from tests.unit.pictures.drawings import PACKAGED

pytestmark = pytest.mark.unit
STEMS = sorted(path.stem for path in PACKAGED.glob("*.svg"))


def parsed(stem: str) -> Parsed:
    return parse(parse_codes(stem))


@pytest.mark.parametrize(
    ("stem", "concept", "factors"),
    [
        ("1F44B", "1F44B", {}),
        ("1F44B-1F3FB", "1F44B", {"skin_tone": "light"}),
        ("1F44B-1F3FC", "1F44B", {"skin_tone": "medium-light"}),
        ("1F44B-1F3FD", "1F44B", {"skin_tone": "medium"}),
        ("1F44B-1F3FE", "1F44B", {"skin_tone": "medium-dark"}),
        ("1F44B-1F3FF", "1F44B", {"skin_tone": "dark"}),
        ("1F3C3-200D-2642-FE0F", "1F3C3", {"gender": "man"}),
        ("1F3C3-200D-27A1-FE0F", "1F3C3", {"direction": "right"}),
        (
            "1F3C3-1F3FE-200D-2640-FE0F-200D-27A1-FE0F",
            "1F3C3",
            {"direction": "right", "gender": "woman", "skin_tone": "medium-dark"},
        ),
        ("1F9D1-200D-2695-FE0F", "1F9D1-200D-2695", {"gender": "person"}),
        ("1F468-200D-2695-FE0F", "1F9D1-200D-2695", {"gender": "man"}),
        ("1F469-1F3FF-200D-1F9B3", "1F9D1", {"gender": "woman", "hair": "white", "skin_tone": "dark"}),
        ("1F468-200D-1F9B2", "1F9D1", {"gender": "man", "hair": "bald"}),
        ("1F934", "1FAC5", {"gender": "man"}),  # prince and princess are the man and the woman with a crown
        ("1F478-1F3FB", "1FAC5", {"gender": "woman", "skin_tone": "light"}),
        ("1F483", "1F57A", {"gender": "woman"}),
        ("1F3FB", "1F3FB", {}),  # the swatch of a tone
        ("1F468-200D-1F469-200D-1F466", "1F468-200D-1F469-200D-1F466", {}),  # of several people no gender is said
    ],
)
def test_factors_are_parsed_from_the_code_points_and_the_rest_is_the_concept(stem, concept, factors):
    found = parsed(stem)
    assert dict(found.factors) == factors
    assert "-".join(f"{code:04X}" for code in found.concept) == concept


@pytest.mark.parametrize(
    ("stem", "family", "factor", "value"),
    [
        ("2764-FE0F", "heart", "colour", "red"),
        ("1FA75", "heart", "colour", "light blue"),
        ("26AB", "circle", "colour", "black"),
        ("1F7E8", "square", "colour", "yellow"),
        ("1F4D8", "book", "colour", "blue"),
        ("1F536", "large diamond", "colour", "orange"),
        ("1F539", "small diamond", "colour", "blue"),
        ("1F550", "clock", "time", "one o'clock"),
        ("1F567", "clock", "time", "half past twelve"),
        ("1F313", "moon", "phase", "first quarter"),
    ],
)
def test_families_of_single_code_points_are_one_concept_with_a_factor(stem, family, factor, value):
    found = parsed(stem)
    assert (found.family, dict(found.factors)) == (family, {factor: value})
    assert found.concept != found.codes


def test_a_name_is_read_the_same_as_openmoji_noto_and_twemoji_spell_it():
    for stem in STEMS:
        codes = parse_codes(stem)
        bare = stem.lower().replace("-fe0f", "")  # Noto and most of Twemoji leave variation selectors out
        assert parse_codes(bare) == parse_codes(f"emoji_u{bare.replace('-', '_')}") == codes
        assert 0xFE0F not in codes


@pytest.mark.parametrize(
    "name", ["waving_hand", "", "FE0F", "110000", "1F44B-", "-1F44B", "1F44B.1F3FB", "fffffff", "1F44B-1F3FB copy"]
)
def test_a_name_without_code_points_is_refused_in_words(name):
    with pytest.raises(NoCodePoints, match="is no list of code points such as 1F44B-1F3FB"):
        parse_codes(name)


def test_code_points_that_unicode_gives_no_name_have_none():
    assert parse((0xE000,)).name == parse(parse_codes("face")).name == ""
    assert parsed("1F44B-1F3FB").name == "waving hand"


@pytest.mark.parametrize(
    ("stem", "group"),
    [
        ("1F469-1F3FB-200D-1F91D-200D-1F469-1F3FC", "couples"),
        ("1F1E9-1F1EA", "flags"),
        ("1F3F4-E0067-E0062-E0065-E006E-E0067-E007F", "region_flags"),
        ("1F469-1F3FB", ""),
        ("1F3F4", ""),
    ],
)
def test_what_can_be_left_out_is_known_by_its_group(stem, group):
    assert parsed(stem).group == group


def test_every_drawing_of_the_package_has_factors_of_the_vocabulary_and_no_two_say_the_same():
    found = [each for each in map(parsed, STEMS) if each.name and not each.group]
    assert len(found) > 3000
    assert {name for each in found for name, _ in each.factors} | {"style"} == set(FACTORS)
    said = [(each.concept, each.factors) for each in found]
    assert len(set(said)) == len(said)
    assert not [each.name for each in found if "skin tone" in each.name and len(each.codes) > 1]


@pytest.mark.parametrize(
    ("stem", "plain"),
    [
        ("1F468-1F3FB-200D-1F9B0", "man"),
        ("1F3C3-1F3FE-200D-2640-FE0F-200D-27A1-FE0F", "woman running"),
        ("1F9D1-200D-1F9BC-200D-27A1-FE0F", "person in motorized wheelchair"),
        ("1F34E", "red apple"),
        ("1F3FB", "light skin tone"),
    ],
)
def test_a_plain_name_leaves_out_skin_tone_hair_and_direction(stem, plain):
    assert plain_name(parsed(stem)) == plain


@pytest.mark.parametrize(
    ("man", "woman", "shared"),
    [
        ("man running", "woman running", "{} running"),
        ("pregnant man", "pregnant woman", "pregnant {}"),
        ("man beard", "woman beard", "{} with a beard"),
        ("men with bunny ears", "women with bunny ears", "{} with bunny ears"),
        ("prince", "princess", None),
        ("man in tuxedo", "woman with veil", None),
    ],
)
def test_the_names_of_a_concepts_genders_share_a_template_or_are_words_of_their_own(man, woman, shared):
    assert template({"man": man, "woman": woman}) == shared
    assert template({"man": man}) is None
