"""What a plan takes for given where nothing at hand says it. Each is named in the plan, and the command line can say
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

GPU_PEAK_TFLOPS = {"bf16": 312.0, "fp32": 19.5}  # dense matrix products of an NVIDIA A100, by its data sheet
GPU_BANDWIDTH_GBPS = 2039.0  # of the memory of an NVIDIA A100 of 80 GB, by its data sheet
GPU_UTILISATION = 0.4
CPU_UTILISATION = 0.2  # of this machine's measured matrix rate: what the generator's benchmark in the README finds
GPU_MEMORY_GB = 80.0
# Bytes per pixel of photos, measured on photos of 512 pixels: JPEG at quality 95, WebP at 95, PNG.
PICTURE_BYTES_PER_PIXEL = {"jpg": 0.45, "webp": 0.37, "png": 1.65}
ASPECT = 4 / 3  # of a photo, longer over shorter side
PHOTO_PIXELS = 1_000_000  # of a photo whose size nothing tells
DECODE_SECONDS = (0.8e-3, 12.7e-9)  # of a core, a picture and a pixel of it: tests/benchmarks/decode.py
# Bytes per row of the stages' tables, those of the index without its texts, measured on shards of 60 rows; larger
# shards have fewer.
TABLE_ROW_BYTES = {
    "ingest": 115, "measure": 330, "curate": 45, "synthesize_edits": 50, "measure_pairs": 150, "curate_pairs": 45,
    "index": 70, "index_latents": 32, "score": 33, "recaption": 30,
}  # fmt: skip
# Of a worker's own memory beside each part of the index that it has mapped, measured on parts of 1,000 rows. Only so
# many stay mapped, whatever the number of rows.
MAPPED_PART_BYTES = 20_000
# Bytes per row while an epoch is shuffled as a whole (bits, places, what the sort needs); of image-text training also
# its pairs.
SHUFFLED_ROW_BYTES = 20
PAIRED_ROW_BYTES = 40
INSTRUCTION_BYTES = 60
NODE_WORKERS = 8  # of a training on one node, at most: as many as such machines have GPUs
TOKEN_BYTES = 4.5  # of English, by a published model's tokenizer
PROMPT_TOKENS = 50  # of a prompt in its chat template, where the tokenizer is not here
KEY_BYTES = 12


@dataclass(frozen=True)
class Assumptions:
    """What the command line says; None where a default above or this machine's own figure stands. 1 GB is 10^9
    bytes.
    """

    samples: int | None = None  # that the source holds
    keep: float = 1.0  # share of them that comes through download and curation
    text_tokens: int | None = None  # of a text in training; None: all texts are as long as they may be
    utilisation: float | None = None  # share of the peak that is reached
    peak_tflops: float | None = None  # of one GPU
    cpu_tflops: float | None = None  # of one CPU worker
    bandwidth_gbps: float | None = None  # of the memory of one GPU, or of one CPU worker
    memory_gb: float | None = None  # of one GPU
    worker_memory_gb: float | None = None  # of one CPU worker
    store_gb: float | None = None  # free in the store
    node_disk_gb: float | None = None  # of one node, for copies of a remote store's files
    of_source: Mapping[str, int] = field(default_factory=dict)  # samples of sources by name
