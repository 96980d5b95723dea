"""A run as one HTML page for people: what ran, the data, the training, the pictures and the figures."""
