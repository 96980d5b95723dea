"""The paper's own results, shown beside ours."""

SOURCE = (
    "Source: PS-VAE, arXiv 2512.17909 v1, as reported there for its 0.5 B generator at 256 px: ImageNet "
    "reconstruction, GenEval, DPG-Bench, GEdit-Bench scored by EditReward. Other data, size, metrics and scale than "
    "ours: compare orders, not figures."
)
HEADER = ("space", "rFID", "PSNR", "LPIPS", "SSIM", "probe", "GenEval", "DPG", "edit")
RESULTS = (
    ("Flux-VAE (stride 8)", ".175", "32.86", ".044", ".912", "", "68.04", "78.98", "-.271"),
    ("MAR-VAE 16c", ".534", "26.18", ".135", ".715", "5.4", "75.75", "83.19", ".056"),
    ("VA-VAE 32c", ".279", "27.71", ".097", ".779", "", "76.16", "82.45", ".227"),
    ("RAE 768c", ".619", "19.20", ".254", ".436", "83.0", "71.27", "81.72", ".059"),
    ("S-VAE 96c", "1.407", "17.78", ".296", ".390", "81.1", "73.7", "83.6", ".12"),
    ("P-VAE 96c (pixels only)", ".398", "29.81", ".073", ".850", "11.8", "75.2", "82.1", ".04"),
    ("PS-VAE 32c", ".584", "24.53", ".168", ".662", "", "76.22", "84.25", ".274"),
    ("PS-VAE 96c", ".203", "28.79", ".085", ".817", "79.5", "76.56", "83.62", ".222"),
    ("SigLIP2 PS-VAE 96c", ".222", "28.14", ".096", ".795", "", "77.14", "83.33", ".183"),
    ("RAE-HD 768c", "", "33.10", "", "", "", "60.2", "", ""),
)
