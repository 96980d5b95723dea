"""The proof: what is promised under damage, bad input and attack, tried many times over real stores and files."""
