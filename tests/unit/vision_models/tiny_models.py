"""Tiny models of published classes with random weights, saved as their makers save them: by save_pretrained."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

SIDE = 16
VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE,
    "patch_size": 8,
}  # fmt: skip
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
WORDS = [
    "red", "green", "blue", "grey", "picture", "of", "a", "an", "the", "is", "and", "circle", "square", "photo", "with",
    "without", "watermark", "yes", "no", "in", "what", "describe", "this",
]  # fmt: skip
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>")


def save_tokenizer(folder: Path, words: Sequence[str] = WORDS, **settings: Any) -> Any:
    """Save a tokenizer of whole words; every text ends with </s>."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: n for n, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    if settings.pop("closes", True):
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 3)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        model_input_names=["input_ids", "attention_mask"], **settings,
    )  # fmt: skip
    made.save_pretrained(folder)
    return made


def save_processor(kind: str, folder: Path) -> Any:
    """Save an image processor of transformers for pictures of SIDE pixels."""
    import transformers

    size = {"shortest_edge": SIDE} if kind == "CLIP" else {"height": SIDE, "width": SIDE}
    crop = {"crop_size": {"height": SIDE, "width": SIDE}} if kind == "CLIP" else {}
    made = getattr(transformers, f"{kind}ImageProcessorPil")(size=size, **crop)
    made.save_pretrained(folder)
    return made


def clip(folder: Path) -> Path:
    """Save a CLIP."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    text = {**TEXT, "vocab_size": len(SPECIAL) + len(WORDS), "max_position_embeddings": 12, "eos_token_id": 3,
            "bos_token_id": 2, "pad_token_id": 0}  # fmt: skip
    CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)).save_pretrained(folder)
    save_tokenizer(folder)
    save_processor("CLIP", folder)
    return folder


def siglip(folder: Path) -> Path:
    """Save a SigLIP."""
    import torch
    from transformers import SiglipConfig, SiglipModel

    torch.manual_seed(0)
    text = {**TEXT, "vocab_size": len(SPECIAL) + len(WORDS), "max_position_embeddings": 12, "projection_size": 16}
    SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(folder)
    save_tokenizer(folder)
    save_processor("Siglip", folder)
    return folder


def classifier(folder: Path, classes: Sequence[str], **settings: Any) -> Path:
    """Save a ViT with a head for these classes."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    labels = {"id2label": dict(enumerate(classes)), "label2id": {name: n for n, name in enumerate(classes)}}
    config = ViTConfig(**VISION, **labels, **settings)
    model = ViTForImageClassification(config)
    torch.nn.init.normal_(model.classifier.weight, std=0.1)  # answers that differ
    model.save_pretrained(folder)
    save_processor("ViT", folder)
    return folder


TEMPLATE = (
    "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }} "
    "{% endif %}{% endfor %}{% endfor %}"
)


def llava(folder: Path, blind: bool = False, words: Sequence[str] = WORDS) -> Path:
    """Save a LLaVA: CLIP's vision tower before a small Llama. A blind one says the same of every picture."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    torch.manual_seed(0)
    text = LlamaConfig(
        **TEXT, num_key_value_heads=2, vocab_size=len(SPECIAL) + len(words), max_position_embeddings=64,
        pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION), text_config=text, image_token_index=4, vision_feature_layer=-1,
        pad_token_id=0, eos_token_id=3,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config)
    for name, parameter in model.named_parameters():
        if "multi_modal_projector" in name or "lm_head" in name:
            torch.nn.init.normal_(parameter, std=0.5)  # what the picture shows decides what is said
        if "multi_modal_projector" in name and blind:
            torch.nn.init.zeros_(parameter)
    model.save_pretrained(folder)
    LlavaProcessor(
        save_processor("CLIP", folder), save_tokenizer(folder, words, closes=False), patch_size=8,
        vision_feature_select_strategy="default", num_additional_image_tokens=1, image_token="<image>",
        chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def llava_next(folder: Path) -> Path:
    """Save a LLaVA-NeXT, which sees a picture whole and in tiles."""
    import torch
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessorPil,
        LlavaNextProcessor,
    )

    torch.manual_seed(0)
    text = LlamaConfig(
        **TEXT, num_key_value_heads=1, vocab_size=len(SPECIAL) + len(WORDS), max_position_embeddings=128,
        pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    tiles = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**VISION), text_config=text, image_token_index=4, vision_feature_layer=-2,
        image_grid_pinpoints=tiles, pad_token_id=0, eos_token_id=3,
    )  # fmt: skip
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    seen = LlavaNextImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=tiles
    )
    LlavaNextProcessor(
        seen, save_tokenizer(folder, closes=False), patch_size=8, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, image_token="<image>", chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    return folder


COLOURS = {"red": (220, 40, 40), "green": (40, 165, 60), "blue": (40, 80, 220)}


def coloured(colour: str, seed: int, side: int = SIDE) -> Any:
    """Return a noisy picture of one colour, uint8 [side, side, 3]."""
    import numpy as np

    noise = np.random.default_rng(seed).integers(-30, 30, (side, side, 3))
    return np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)


def coloured_photos(folder: Path, count: int) -> None:
    """Fill a new folder with pictures of the colours in turn, each with a caption that says none of them."""
    folder.mkdir()
    with (folder / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file_name", "text"])
        for n in range(count):
            colour = list(COLOURS)[n % len(COLOURS)]
            Image.fromarray(coloured(colour, 100 + n, 40)).save(folder / f"{n:02d}.png")
            rows.writerow([f"{n:02d}.png", f"photo number {n} of the camera"])


def clip_of_colours(folder: Path) -> Path:
    """Save a CLIP that tells the three colours apart, which takes it a second to learn."""
    import torch
    from PIL import Image
    from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

    clip(folder)
    model, tokenizer = CLIPModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    pictures = [Image.fromarray(coloured(colour, n)) for n in range(4) for colour in COLOURS]
    pixels = CLIPImageProcessorPil.from_pretrained(folder)(pictures, return_tensors="pt")["pixel_values"]
    texts = tokenizer([f"a {colour} picture" for colour in COLOURS], return_tensors="pt")
    names = {name: texts[name] for name in ("input_ids", "attention_mask")}
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        logits = model(pixel_values=pixels, **names).logits_per_image
        loss = torch.nn.functional.cross_entropy(logits, torch.arange(3).repeat(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    model.save_pretrained(folder)
    return folder


def llava_of_colours(folder: Path, prompt: str, answers: Mapping[str, str] | None = None) -> Path:
    """Save a LLaVA that answers a prompt with the colour of its picture, or with three words of each colour's own,
    which takes it seconds to learn.
    """
    import torch
    from PIL import Image
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    answers = answers or {colour: f"a {colour} picture" for colour in COLOURS}
    new = [word for text in (prompt, *answers.values()) for word in text.lower().split() if word not in WORDS]
    llava(folder, words=[*WORDS, *dict.fromkeys(new)])
    model, processor = LlavaForConditionalGeneration.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    colours = [colour for _ in range(4) for colour in COLOURS]
    pictures = [[Image.fromarray(coloured(colour, n))] for n, colour in enumerate(colours)]
    said = [f"<image> {prompt} {answers[colour]} </s>" for colour in colours]
    inputs = processor(images=pictures, text=said, padding=True, return_tensors="pt")
    labels = inputs["input_ids"].clone()
    labels[:, :-4] = -100  # all but the answer
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = model(**inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    model.save_pretrained(folder)
    return folder
