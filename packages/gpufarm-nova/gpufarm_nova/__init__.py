"""CPU and memory kept for free GPUs, and servers put where the least is lost for later ones.

`reserve` and `packing` are the rules, pure and without Nova; Nova's scheduler, gpufarm's simulator
and its explanations share them. Python 3.8, which is the oldest that Nova 29 runs on.
"""

__version__ = "0.1.0"
