"""Options of the data room as plain frozen dataclasses: what a download, a shard reader and a source list may do.

Only the standard library is imported here, so that configuration can read the defaults in milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

ResizeMode = Literal["no", "keep_ratio", "keep_ratio_largest", "center_crop", "border"]
EncodeFormat = Literal["jpg", "png", "webp"]
OPT_OUT_DIRECTIVES = ("noai", "noimageai", "noindex", "noimageindex")


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def caption_columns(captions: dict[str, str], caption_column: str | None) -> dict[str, str]:
    """{origin: column} of what `captions` names, or else of the one `caption_column`, whose origin is its name."""
    return captions or ({caption_column: caption_column} if caption_column is not None else {})


@dataclass(frozen=True)
class ShardLimits:
    """What one tar shard may hold before a sample, or the rest of the shard, is refused."""

    max_member_bytes: int = 64 * 2**20  # largest file inside a tar; a larger one fails its sample
    max_sample_bytes: int = 128 * 2**20  # all files of one sample together
    max_parts_per_sample: int = 32  # files of one sample
    max_members: int = 1_000_000  # files in one tar; reading stops there
    max_name_bytes: int = 1024  # longest member name

    def __post_init__(self) -> None:
        for name in ("max_member_bytes", "max_sample_bytes", "max_parts_per_sample", "max_members", "max_name_bytes"):
            _need(getattr(self, name) > 0, f"{name} is {getattr(self, name)}; it must be above 0")


@dataclass(frozen=True)
class DownloadOptions:
    """How one shard of a URL list is downloaded, guarded and re-encoded."""

    timeout_s: float = 15.0  # longest time for one image, whole: name lookup, redirects, headers and body
    retries: int = 2  # further attempts for rows whose failure may pass (timeouts, 5xx, broken connections)
    backoff_s: float = 1.0  # pause before the first further attempt; doubles each time
    threads: int = 16  # downloads at once in one shard
    max_redirects: int = 5  # hops followed; each hop is checked like the first address
    image_size: int = 512  # target size for resize_mode, pixels
    resize_mode: ResizeMode = "keep_ratio"  # how img2dataset fits a picture to image_size; "no" keeps its size
    resize_only_if_bigger: bool = True  # False also enlarges small pictures
    encode_format: EncodeFormat = "jpg"  # format of the stored picture
    encode_quality: int | None = None  # jpg and webp: 1-100 (None: 95); png: compression 0-9 (None: 6)
    min_image_size: int = 0  # shorter side, pixels; smaller pictures fail as too_small
    max_bytes: int = 32 * 2**20  # largest body read
    max_pixels: int = 32 * 10**6  # largest declared width x height decoded
    respect_opt_out: bool = True  # leave out pictures whose X-Robots-Tag header asks for it
    opt_out_directives: tuple[str, ...] = OPT_OUT_DIRECTIVES  # header words that count as asking
    allow_private_networks: bool = False  # also fetch from private, loopback and link-local addresses
    # our name in the User-Agent header, and in X-Robots-Tag rules
    user_agent_token: str = "pixsem"  # noqa: S105

    def __post_init__(self) -> None:
        for name, choices in (("resize_mode", get_args(ResizeMode)), ("encode_format", get_args(EncodeFormat))):
            value = getattr(self, name)
            _need(value in choices, f"{name} is {value!r}; it must be one of {', '.join(choices)}")
        for name in ("timeout_s", "threads", "image_size", "max_bytes", "max_pixels"):
            _need(getattr(self, name) > 0, f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("retries", "backoff_s", "max_redirects", "min_image_size"):
            _need(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must be 0 or more")
        low, high = (0, 9) if self.encode_format == "png" else (1, 100)
        quality = self.encode_quality
        _need(
            quality is None or low <= quality <= high,
            f"encode_quality is {quality}; for {self.encode_format} it must be {low} to {high}",
        )
        token = self.user_agent_token
        _need(
            token.isascii() and token.replace("-", "").replace("_", "").isalnum(),
            f"user_agent_token is {token!r}; use letters, digits, '-' and '_' only",
        )

    @property
    def quality(self) -> int:
        """The encoder's quality number with the default of its format filled in."""
        if self.encode_quality is not None:
            return self.encode_quality
        return 6 if self.encode_format == "png" else 95


@dataclass(frozen=True)
class UrlListOptions:
    """Which columns of a URL list mean what."""

    url_column: str = "url"  # column with the address of the picture
    caption_column: str | None = "caption"  # column with the caption, or a list of them; None: the list has none
    captions: dict[str, str] = field(default_factory=dict)  # {origin: column} where there are several; the first counts
    metadata_columns: tuple[str, ...] = ()  # further columns kept in each sample's json
    column_names: tuple[str, ...] = ()  # csv and tsv without a header row: the names of its columns, in order
    quoted: bool | None = None  # csv and tsv: may fields be quoted; None: yes in csv, no in tsv
    require_caption: bool = True  # rows with an empty caption fail as no_caption before any download

    def __post_init__(self) -> None:
        _need(bool(self.url_column), "url_column is empty; name the column that holds the addresses")
        repeated = sorted({name for name in self.column_names if self.column_names.count(name) > 1})
        _need(not repeated, f"column_names repeats {', '.join(repeated)}; give each column its own name")


@dataclass(frozen=True)
class FolderOptions:
    """How a folder of pictures is matched with its captions."""

    captions_file: str | None = None  # path inside the folder; None: metadata.{jsonl,csv,...} or else .txt side files
    file_column: str = "file_name"  # column of the captions file with the picture's path inside the folder
    caption_column: str = "text"  # column with the caption, or a list of captions
    captions: dict[str, str] = field(default_factory=dict)  # {origin: column} where there are several; the first counts
    require_caption: bool = True  # pictures without a caption fail as no_caption; False keeps them without one
    follow_links: bool = False  # accept links that lead out of the folder
    limits: ShardLimits = field(default_factory=ShardLimits)  # largest picture and caption files read


@dataclass(frozen=True)
class ParquetOptions:
    """Which columns of parquet files with pictures mean what. A name with dots leads into a struct: `sentences.raw`."""

    image_column: str = "image"  # binary, or struct{bytes, path} as Hugging Face datasets write it
    caption_column: str | None = "caption"  # a text, a list of texts, or a struct of them; None: there are none
    captions: dict[str, str] = field(default_factory=dict)  # {origin: column} where there are several; the first counts
    metadata_columns: tuple[str, ...] = ()  # further columns kept in each sample's json
    require_caption: bool = True  # rows without a caption fail as no_caption
    limits: ShardLimits = field(default_factory=ShardLimits)  # largest picture and sample

    def __post_init__(self) -> None:
        _need(bool(self.image_column), "image_column is empty; name the column that holds the pictures")


MaskMarks = Literal["white", "black", "transparent"]


@dataclass(frozen=True)
class PairColumns:
    """Which columns (of parquet), parts or json fields (of WebDataset shards), or fields of the metadata file (of a
    folder, with paths of pictures) make an edit pair. A name with dots leads into a struct or an object.
    """

    source: str = "source"  # the picture before
    target: str = "target"  # the picture after
    instruction: tuple[str, ...] = ("instruction",)  # texts or lists of texts; the first text counts
    mask: str | None = None  # picture that marks what was edited
    mask_marks: MaskMarks = "white"  # how it marks it: its white, its black, or its transparent pixels
    caption: str | None = None  # of the source
    target_caption: str | None = None
    kind: str | None = None  # what sort of edit it is
    group: str | None = None  # the same for all turns of one picture; None: pairs with the same source picture
    turn: str | None = None  # the turn's place among those of its group
    metadata: tuple[str, ...] = ()  # further ones kept in each pair's json

    def __post_init__(self) -> None:
        _need(bool(self.instruction), "instruction is empty; name what holds the instructions")
        _need(
            self.mask_marks in get_args(MaskMarks),
            f"mask_marks is {self.mask_marks!r}; it must be white, black or transparent",
        )
