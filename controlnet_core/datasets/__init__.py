"""Data sets of pairs: a control picture, the picture that belongs to it, and its prompt.

One interface, `Pairs`, over everything that holds such pairs:

    layouts   folders on disk: the original tutorial's, two folders of equal names, Hugging Face's
    kept      pictures of the gallery, with the drawings they were made from
    circles   filled circles on coloured ground, rendered here: the tutorial's task, endless
    checks    names every pair that cannot be used, without holding them in memory; splits

Importing this needs no torch. Nothing here trains, and nothing resizes: `controlnet_core.training.dataloader` does.
"""

from controlnet_core.datasets.layouts import open_folder
from controlnet_core.datasets.pairs import Example, PairFiles, Pairs

__all__ = ["Example", "PairFiles", "Pairs", "open_folder"]
