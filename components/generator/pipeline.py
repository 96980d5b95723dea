"""The diffusers pipeline: text to picture, and picture and text to picture, from one folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from logging import getLogger
from typing import Any

import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.utils import logging
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from components.generator.sampling import Guidance, Request, sample
from components.generator.text import encode_texts, token_rows

LOG = getLogger(__name__)


class PixelSemanticPipeline(DiffusionPipeline):
    """Makes pictures from prompts, and edits pictures by instructions.

    `vae` is a latent space with `encode(x).latent_dist`, `decode(z).sample`, `latent_shape` and `image_size`;
    `tokenizer` a fast text tokenizer of transformers. The other arguments are what a call does where it is not told
    otherwise.
    """

    model_cpu_offload_seq = "transformer->vae"  # type: ignore[assignment]

    def __init__(
        self,
        vae: Any,
        transformer: Any,
        tokenizer: Any,
        scheduler: FlowMatchEulerDiscreteScheduler,
        guidance_scale: float = 6.5,
        image_guidance_scale: float = 1.0,
        num_inference_steps: int = 50,
        max_text_tokens: int = 256,
        guidance_above: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_modules(vae=vae, transformer=transformer, tokenizer=tokenizer, scheduler=scheduler)
        self.register_to_config(
            guidance_scale=guidance_scale, image_guidance_scale=image_guidance_scale,
            num_inference_steps=num_inference_steps, max_text_tokens=max_text_tokens, guidance_above=guidance_above,
        )  # fmt: skip
        if tuple(vae.latent_shape) != (transformer.channels, transformer.grid, transformer.grid):
            raise ValueError(
                f"the tokenizer's latents are {tuple(vae.latent_shape)}, the generator was trained on "
                f"{(transformer.channels, transformer.grid, transformer.grid)}: they belong to different models"
            )
        self.image_processor = VaeImageProcessor(vae_scale_factor=1)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a folder, as any pipeline of diffusers; into whole memory unless told otherwise."""
        kwargs.pop("use_safetensors", None)  # never anything else
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # of four parts
        try:
            return super().from_pretrained(*args, use_safetensors=True, **{"low_cpu_mem_usage": False, **kwargs})
        finally:
            if shown:
                logging.enable_progress_bar()

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        image: Any = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        image_guidance_scale: float | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[Any, int, Any, dict[str, Tensor]], dict[str, Tensor]] | None = None,
    ) -> Any:
        """Make a picture for each prompt; with `image` (PIL, a list of them, or a tensor `[B, 3, S, S]` in 0..1), edit
        each as its prompt says.

        Scales of 1 are no guidance; None means the pipeline's own. `output_type` is pil, np, pt or latent. Raises
        ValueError for what cannot be made.
        """
        prompts = [prompt] if isinstance(prompt, str) else prompt
        steps = self._choose("num_inference_steps", num_inference_steps)
        guidance = Guidance(
            self._choose("guidance_scale", guidance_scale),
            self._choose("image_guidance_scale", image_guidance_scale),
            self.config["guidance_above"],
        )
        self._check(prompts, steps, output_type)
        prompts = [text for text in prompts for _ in range(num_images_per_prompt)]
        device = self._execution_device
        ids, text = self._read(prompts)
        source = None if image is None else self._encode(image, len(prompts), num_images_per_prompt)
        shape = (len(prompts), *self.vae.latent_shape)
        if latents is None:
            latents = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        elif tuple(latents.shape) != shape:
            raise ValueError(f"latents are {tuple(latents.shape)}; for {len(prompts)} pictures they must be {shape}")
        with self.progress_bar(total=steps) as bar:

            def after(number: int, timestep: Tensor, now: Tensor) -> Tensor:
                bar.update()
                if callback_on_step_end is None:
                    return now
                return callback_on_step_end(self, number, timestep, {"latents": now}).get("latents", now)

            made = sample(
                self.transformer, self.scheduler, latents.to(device), Request(ids.to(device), text.to(device), source),
                guidance, steps, after=after,
            )  # fmt: skip
        images: Any = made
        if output_type != "latent":
            pictures = self.vae.decode(made.to(self.vae.dtype)).sample.float().clamp(-1, 1)
            images = self.image_processor.postprocess(pictures, output_type=output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _choose(self, name: str, given: Any) -> Any:
        return self.config[name] if given is None else given

    def _check(self, prompts: Any, steps: int, output_type: str) -> None:
        if not isinstance(prompts, list | tuple) or not prompts or not all(isinstance(t, str) for t in prompts):
            raise ValueError("prompt must be a text or a list of texts, at least one")
        if steps < 1:
            raise ValueError(f"num_inference_steps is {steps}; at least one step is taken")
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f"output_type is {output_type!r}; it is pil, np, pt or latent")

    def _read(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        longest = self.config["max_text_tokens"]
        for text, row in zip(prompts, token_rows(self.tokenizer, prompts, longest + 1), strict=True):
            if len(row) > longest:
                LOG.warning("the prompt %r is cut: only its first %d tokens are read", text[:60], longest)
        return encode_texts(self.tokenizer, prompts, longest)

    def _encode(self, image: Any, count: int, repeats: int) -> Tensor:
        """Return the source pictures' standardised latents `[count, C, H, W]`."""
        side = self.vae.config.image_size
        pictures = self.image_processor.preprocess(image, height=side, width=side, resize_mode=self._mode(image))
        pictures = pictures.to(self._execution_device, self.vae.dtype).repeat_interleave(repeats, 0)
        if len(pictures) == 1:
            pictures = pictures.expand(count, -1, -1, -1)
        if len(pictures) != count:
            raise ValueError(
                f"there are {len(pictures) // repeats} images for {count // repeats} prompts: give one for each"
            )
        return self.vae.encode(pictures).latent_dist.mode().float()

    def _mode(self, image: Any) -> str:
        """Pictures that are not square are cropped in their middle; tensors are only resized."""
        return "default" if isinstance(image, torch.Tensor) else "crop"
