"""The pictures world: real drawings named by their code points, with factors, exact edits, and a judge by nearest known
picture.
"""
