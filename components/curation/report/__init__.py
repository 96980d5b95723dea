"""The report of the data: what came in, what was dropped where and why, and the samples next to each threshold."""
