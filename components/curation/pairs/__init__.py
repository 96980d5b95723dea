"""Edit pairs as samples: what is measured of one, which are kept, known faults, sheets. `editing/` makes them."""
