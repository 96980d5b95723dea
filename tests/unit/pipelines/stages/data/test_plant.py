"""Known faults in data of any source: planted by name, scored by curation, and without harm to the other samples."""

from __future__ import annotations

import numpy as np
import pytest

from components.curation.images import encode_jpeg
from components.curation.options import FaultOptions
from components.data.records import Record
from components.data.samples import metadata_of
from pipelines.config.compose import compose_config, to_dict
from pipelines.config.keys import flatten
from pipelines.config.newer_keys import as_before
from pipelines.stages.data.plant import planted

pytestmark = pytest.mark.unit
# Keys that sources were given later.
LATER = ("faults", "use", "weight", "captions", "allow_pipe", "columns.captions", "files.captions")


def records(count: int) -> list[Record]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        picture = encode_jpeg(rng.integers(0, 256, (48, 40, 3), dtype=np.uint8), 90)
        parts = {"jpg": picture, "txt": f"a photo of thing {number}".encode(), "json": b'{"licence": 4}'}
        made.append(Record(f"{number:04d}", parts))
    return [*made, Record("broken", {"jpg": b"no picture", "txt": b"a photo that cannot be read"})]


def test_each_fault_is_planted_as_often_as_asked_and_named_in_the_samples_metadata():
    given = records(100)
    found = list(planted(given, FaultOptions(), 7))
    assert [r.key for r in found] == [r.key for r in given]
    faults = [f for r in found for f in metadata_of(r).get("faults", [])]
    assert len(faults) == 21 and faults.count("repeated_caption") == 3 and faults.count("broken_image") == 2
    assert all(metadata_of(r)["licence"] == 4 for r in found if r.key != "broken")
    keys = {r.key for r in given}
    for before, after in zip(given, found, strict=True):
        fault = metadata_of(after).get("faults", [""])[0]
        if not fault:
            assert after == before
        elif fault.endswith("_caption"):
            assert after.parts["jpg"] == before.parts["jpg"] and after.parts["txt"] != before.parts["txt"]
        elif fault == "duplicate_image":
            assert metadata_of(after)["fault_source"] in keys - {after.key}


def test_the_same_seed_plants_the_same_and_another_does_not():
    given = records(60)
    assert list(planted(given, FaultOptions(), 1)) == list(planted(given, FaultOptions(), 1))
    assert list(planted(given, FaultOptions(), 1)) != list(planted(given, FaultOptions(), 2))


@pytest.mark.parametrize("source", ["folder", "webdataset", "urls"])
def test_a_source_without_faults_is_known_as_before_they_could_be_planted(source):
    """So that an upgrade downloads nothing again: the fingerprint of ingest is made of this."""
    place = "source.shards=/data/x" if source == "webdataset" else "source.path=/data/x"
    plain = to_dict(compose_config([f"source={source}", place]))["source"]
    assert flatten(as_before("source", plain)) == {k: v for k, v in flatten(plain).items() if k not in LATER}
    found = to_dict(compose_config([f"source={source}", place, "source.faults={flat_image: 0.1}"]))["source"]
    assert as_before("source", found)["faults"]["flat_image"] == 0.1


def test_given_pairs_without_faults_are_known_as_before_they_could_be_planted():
    settings = ["source=omniedit", "source.path=/data/x"]
    assert "faults" not in as_before("source", to_dict(compose_config(settings))["source"])
    found = to_dict(compose_config([*settings, "source.faults={unchanged: 0.1}"]))["source"]
    assert as_before("source", found)["faults"]["unchanged"] == 0.1
