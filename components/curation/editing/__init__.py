"""Edit pairs from photos by procedures with known results. Import the modules; nothing is re-exported here."""
