"""The one training loop: DeepSpeed engines, optimizers, EMA, exact-resume checkpoints. Knows no model and no Ray."""
