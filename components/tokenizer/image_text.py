"""An image-text model: a vision encoder, an attention pool, and a small text transformer, trained contrastively.

It trains the small encoder where no pretrained one is named, and tells how well features match captions (retrieval).
With a pretrained encoder only its own two heads are trained, the encoder stays as it is.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.tokenizer.blocks import Block
from components.tokenizer.encoders import FAMILIES, VisionEncoder
from components.tokenizer.options import SmallEncoderOptions

WORDS = re.compile(r"[^\W_]+", re.UNICODE)
PAD, UNKNOWN = 0, 1


class Vocabulary:
    """The words of the captions, most frequent first; unseen words are one unknown word."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._index = {word: number for number, word in enumerate(self.words, start=2)}

    def __len__(self) -> int:
        return len(self.words) + 2

    @classmethod
    def of(cls, captions: Iterable[str], size: int = 8192) -> Vocabulary:
        """Take the `size` most frequent words; ties in alphabetical order."""
        counts = Counter(word for caption in captions for word in WORDS.findall(caption.lower()))
        return cls([word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:size]])

    def encode(self, captions: Sequence[str], length: int) -> Tensor:
        """Return word numbers `[B, length]`, padded with 0; longer captions are cut."""
        ids = torch.zeros(len(captions), length, dtype=torch.long)
        for row, caption in enumerate(captions):
            words = [self._index.get(word, UNKNOWN) for word in WORDS.findall(caption.lower())[:length]]
            ids[row, : len(words)] = torch.tensor(words, dtype=torch.long)
        return ids


class AttentionPool(nn.Module):
    """One learned query over tokens `[B, N, width]`: `[B, width]`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.norm = nn.LayerNorm(width)
        self.key_value = nn.Linear(width, 2 * width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.heads = heads

    def forward(self, tokens: Tensor) -> Tensor:
        """Pool the tokens."""
        batch, _, width = tokens.shape
        shape = (batch, -1, self.heads, width // self.heads)
        key, value = self.key_value(self.norm(tokens)).chunk(2, dim=-1)
        query = self.query.to(key.dtype).expand(batch, -1, -1)
        mixed = F.scaled_dot_product_attention(
            query.reshape(shape).transpose(1, 2),
            key.reshape(shape).transpose(1, 2),
            value.reshape(shape).transpose(1, 2),
        )
        pooled = mixed.transpose(1, 2).reshape(batch, width)
        return pooled + self.down(F.gelu(self.up(pooled)))


class ImageTextModel(nn.Module):
    """Pictures and captions in one space: cosine similarity of `embed_features(encoder(x))` and `embed_text(ids)`."""

    def __init__(self, encoder: VisionEncoder, words: int, options: SmallEncoderOptions) -> None:
        super().__init__()
        self.options = options
        width = options.width
        self.encoder = encoder
        self.pool = AttentionPool(encoder.width, encoder.heads)
        self.image_project = nn.Linear(encoder.width, width)
        self.bag_of_words = nn.Linear(encoder.width, words)
        self.word = nn.Embedding(words, width)
        self.place = nn.Parameter(0.02 * torch.randn(1, options.max_words, width))
        self.text_blocks = nn.ModuleList([Block(width, options.heads) for _ in range(options.text_depth)])
        self.text_norm = nn.LayerNorm(width)
        self.text_project = nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.tensor([2.3]))
        self.bias = nn.Parameter(torch.tensor([-10.0]))
        nn.init.normal_(self.word.weight, std=0.02)

    @torch.no_grad()
    def expect(self, ids: Tensor) -> None:
        """Start the guess of a caption's words from how often each stands in captions `[N, L]`.

        Of many words a caption holds few: from even odds, unlearning the rest outweighs all else for hundreds of steps.
        """
        count = len(self.bag_of_words.bias)
        present = torch.zeros(len(ids), count).scatter_(1, ids, 1.0)
        self.bag_of_words.bias.copy_(torch.logit((present.sum(0) + 0.5) / (len(ids) + 1)))

    def embed_features(self, features: Tensor) -> Tensor:
        """Unit vectors `[B, width]` of features `[B, N, D]`."""
        return F.normalize(self.image_project(self.pool(features)).float(), dim=-1)

    def embed_text(self, ids: Tensor) -> Tensor:
        """Unit vectors `[B, width]` of word numbers `[B, L]`."""
        mask = ids != PAD
        mask = mask | ~mask.any(1, keepdim=True)  # an empty caption looks at its padding
        hidden = self.word(ids) + self.place[:, : ids.shape[1]]
        for block in self.text_blocks:
            hidden = block(hidden, mask)
        hidden = self.text_norm(hidden) * mask[..., None]
        return F.normalize(self.text_project(hidden.sum(1) / mask.sum(1, keepdim=True)).float(), dim=-1)

    def losses(self, images: Tensor, ids: Tensor, wrong: Tensor | None = None) -> dict[str, Tensor]:
        """Sigmoid image-text loss over the batch, and the loss of guessing which words the caption holds.

        `wrong` `[B, L]`: a caption for each picture that is wrong of it, one more negative; one that equals the
        picture's own is none.
        """
        features = self.encoder(images)
        pooled = self.pool(features)
        image = F.normalize(self.image_project(pooled).float(), dim=-1)
        text = self.embed_text(ids if wrong is None else torch.cat([ids, wrong]))
        text, of_wrong = text[: len(ids)], text[len(ids) :]
        logits = self.log_scale.exp() * image @ text.T + self.bias
        same = (ids[:, None] == ids[None]).all(-1)  # equal captions are no negatives of each other
        sigmoid = F.softplus(torch.where(same, -logits, logits)).sum(1)
        if wrong is not None:
            negative = self.log_scale.exp() * (image * of_wrong).sum(1) + self.bias
            sigmoid = sigmoid + F.softplus(negative) * (wrong != ids).any(1)
        present = torch.zeros(ids.shape[0], self.bag_of_words.out_features, device=ids.device)
        present.scatter_(1, ids, 1.0)
        present[:, PAD] = 0
        words = F.binary_cross_entropy_with_logits(self.bag_of_words(pooled).float(), present, reduction="none")
        return {"sigmoid": sigmoid.mean(), "words": words.sum(1).mean()}


def small_encoder(options: SmallEncoderOptions, size: int) -> VisionEncoder:
    """Return a fresh small DINOv2 with random weights (from torch's global generator)."""
    config = {
        "model_type": "dinov2", "hidden_size": options.width, "num_hidden_layers": options.depth,
        "num_attention_heads": options.heads, "patch_size": options.patch, "image_size": size,
        "layerscale_value": 1.0, "use_mask_token": False,
    }  # fmt: skip
    mean, std = FAMILIES["dinov2"].statistics
    return VisionEncoder.from_spec({"config": config, "size": size, "mean": mean, "std": std})


def save_image_text(model: ImageTextModel, vocabulary: Vocabulary, folder: Path) -> None:
    """Write `model.safetensors` and `image_text.json`: everything that `load_image_text` needs."""
    import dataclasses

    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous().float() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    about = {
        "encoder": model.encoder.spec,
        "options": dataclasses.asdict(model.options),
        "words": vocabulary.words,
    }
    (folder / "image_text.json").write_text(json.dumps(about, ensure_ascii=False, sort_keys=True), "utf-8")


def image_text_shape(folder: Path) -> tuple[ImageTextModel, Vocabulary]:
    """Return the model that `save_image_text` wrote, without its weights; ValueError where it is damaged."""
    try:
        about: dict[str, Any] = json.loads((folder / "image_text.json").read_text("utf-8"))
        vocabulary, options = Vocabulary(about["words"]), SmallEncoderOptions(**about["options"])
        return ImageTextModel(VisionEncoder.from_spec(about["encoder"]), len(vocabulary), options), vocabulary
    except (OSError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder} holds no image-text model of pixsem: {error}") from error


def load_image_text(folder: Path) -> tuple[ImageTextModel, Vocabulary]:
    """Read what `save_image_text` wrote; ValueError where it is damaged."""
    model, vocabulary = image_text_shape(folder)
    try:
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder} holds no image-text model of pixsem: {error}") from error
    return model.eval(), vocabulary
