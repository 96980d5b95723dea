"""What `pixsem.py` offers from Python: loading models, reading latents, running the pipeline. Nothing internal imports
this room.
"""
