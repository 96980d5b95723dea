"""What kind of source a path or an address seems to be, in the words of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.config.origins import CONF
from pipelines.errors import UserError

CAPTION_NAMES = ("caption", "text", "prompt", "captions", "texts", "description", "sentence", "title", "label")
INSTRUCTION_NAMES = ("instruction", "edit_prompt", "edit", "prompt", "edited_prompt_list", "text", "instructions")
SOURCE_NAMES = ("source", "source_image", "source_img", "src_img", "original_image", "input_image", "input", "before")
TARGET_NAMES = ("target", "target_image", "target_img", "edited_img", "edited_image", "output_image", "output", "after")
URL_NAMES = ("url", "image_url", "img_url", "link")


def guess_source(place: str) -> list[str]:
    """Return the configuration that reads a path or an address, as `key=value`. UserError where nothing fits."""
    from components.data.addresses import is_pipe, is_remote, local_path

    if is_pipe(place):
        raise UserError(
            f"{place} runs a command of the shell. Where that is meant: pixsem inspect source=webdataset "
            f"source.allow_pipe=true 'source.shards={place}'"
        )
    path = Path(local_path(place))
    if not is_remote(place) and not path.exists() and not any(c in place for c in "*?[{"):
        raise UserError(f"there is no file or folder {place}, and it is no key=value. Give a path, or source=KIND ...")
    name = place.rstrip("/").rpartition("/")[2].lower()
    if name.endswith(".tar"):
        return _tars(place)
    if name.endswith(".parquet") or place.startswith("hf://"):
        return _parquet(place)
    if name.endswith((".csv", ".tsv", ".json", ".jsonl", ".txt")):
        return ["source=urls", f"source.path={place}", *_url_columns(path)]
    if path.is_dir():
        return _folder(path, place)
    raise UserError(
        f"nobody can say what {place} is by its name. Say it: pixsem inspect source=parquet source.path=..."
    )


def _nearest(names: Any, known: tuple[str, ...]) -> str | None:
    """The name that is known soonest, whatever its case; else one that holds a known one."""
    lower = {str(name).lower(): str(name) for name in reversed(list(names))}
    exact = next((lower[name] for name in known if name in lower), None)
    return exact or next((lower[low] for name in known for low in lower if name in low), None)


def _folder(path: Path, place: str) -> list[str]:
    from components.data.folder import CAPTIONS_FILES, find_captions_file
    from components.data.list_files import ListFormat, field_names
    from components.data.options import FolderOptions

    names = {entry.name for entry in path.iterdir()}
    if any(name.endswith(".tar") for name in names):
        return _tars(place)
    if not names & set(CAPTIONS_FILES) and any(path.glob("**/*.parquet")):
        return _parquet(place)
    captions = find_captions_file(path, FolderOptions())
    found = ["source=folder", f"source.path={place}"]
    if captions is None:
        return found
    fields = field_names(captions, ListFormat())
    before, after = _nearest(fields, SOURCE_NAMES), _nearest(fields, TARGET_NAMES)
    if "file_name" not in fields and before and after and before != after:
        return _pairs(place, before, after, fields)
    caption = _nearest([name for name in fields if name != "file_name"], CAPTION_NAMES)
    return found + ([f"source.files.caption_column={caption}"] if caption and caption != "text" else [])


def _pairs(place: str, before: str, after: str, fields: Any) -> list[str]:
    instruction = _nearest([n for n in fields if n not in (before, after)], INSTRUCTION_NAMES) or "instruction"
    columns = [f"source.pairs.source={before}", f"source.pairs.target={after}"]
    return ["source=edit_pairs", f"source.path={place}", *columns, f"source.pairs.instruction=[{instruction}]"]


def _url_columns(path: Path) -> list[str]:
    from components.data.list_files import ListFormat, field_names

    if path.suffix.lower() == ".txt":
        return ["source.columns.caption_column=null"]
    fields = field_names(path, ListFormat())
    return _named("source.columns.url_column", _nearest(fields, URL_NAMES), "url") + _named(
        "source.columns.caption_column", _nearest(fields, CAPTION_NAMES), "caption"
    )


def _named(key: str, found: str | None, usual: str) -> list[str]:
    return [] if found in (None, usual) else [f"{key}={found}"]


def _parquet(place: str) -> list[str]:
    from components.data.row_groups import find_parquet, picture_columns, schema_of

    first = find_parquet(place)[0]
    fields, pictures = schema_of(first), picture_columns(first)
    if not pictures:
        if _nearest(fields, URL_NAMES):
            return ["source=urls", f"source.path={place}", *_url_columns(Path(first))]
        raise UserError(f"{first} has no column with pictures or addresses; its columns are {', '.join(fields)}")
    if len(pictures) > 1:
        if ready := _ready_map(set(fields)):
            return [f"source={ready}", f"source.path={place}"]
        before = _nearest(pictures, SOURCE_NAMES)
        after = _nearest([name for name in pictures if name != before], TARGET_NAMES)
        if before and after:
            return _pairs(place, before, after, fields)
    caption = _nearest([name for name in fields if name not in pictures], CAPTION_NAMES)
    return [
        "source=parquet",
        f"source.path={place}",
        *_named("source.columns.image_column", _nearest(pictures, ("image",)) or pictures[0], "image"),
        *(
            _named("source.columns.caption_column", caption, "caption")
            if caption
            else ["source.columns.caption_column=null"]
        ),
    ]


def _ready_map(fields: set[str]) -> str | None:
    """The name of the ready map of pairs whose columns are all there."""
    from omegaconf import OmegaConf

    for path in sorted((CONF / "source").glob("*.yaml")):
        pairs: Any = OmegaConf.to_container(OmegaConf.load(path)).get("pairs")  # type: ignore[union-attr]
        if not pairs or not pairs.get("source"):
            continue
        listed = [value for name, value in pairs.items() if isinstance(value, str) and name != "mask_marks"]
        if fields >= {*listed, *pairs["instruction"]}:
            return path.stem
    return None


def _tars(place: str) -> list[str]:
    from components.data.records import read_records
    from components.data.samples import IMAGE_EXTENSIONS, Record, image_part, metadata_of
    from components.data.streams import open_shard
    from components.data.webdataset_source import find_shards

    found = ["source=webdataset", f"source.shards={place}"]
    with open_shard(str(find_shards(place)[0])) as stream:
        record = next((record for record in read_records(stream) if isinstance(record, Record)), None)
    if record is None:
        return found
    metadata = metadata_of(record)
    fields = list(metadata) if isinstance(metadata, dict) else []
    pictures = [name.rpartition(".")[0] for name in record.parts if name.rpartition(".")[2] in IMAGE_EXTENSIONS]
    before, after = _nearest(pictures, SOURCE_NAMES), _nearest(pictures, TARGET_NAMES)
    if image_part(record) is None and before and after and before != after:
        texts = [name.rpartition(".")[0] or name for name in record.parts if name.endswith("txt")]
        return _pairs(place, before, after, [*fields, *texts])
    caption = _nearest(fields, CAPTION_NAMES) if "txt" not in record.parts else None
    return [*found, *_named("source.caption_field", caption, "")]
