"""The proof: a running pipeline is hurt, and so are its files and inputs, many times; nothing may be lost."""
