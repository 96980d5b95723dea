"""The generator: deep-fusion transformer, DDT head, flow matching, sampler, diffusers pipeline. No data, no training
loop.
"""
