"""Ray clusters: connecting, what stages ask of nodes, and what is left of a killed driver's Ray."""
