"""Published editors: diffusers pipelines that take (image, prompt), and text models that write instructions."""
