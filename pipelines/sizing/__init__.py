"""What a configuration would take, before anything runs: samples, bytes, parameters, memory, FLOPs, hours."""
