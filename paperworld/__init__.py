"""The picture world: seeded scenes as flat illustrations, with captions and the exact truth of every condition.

    scene = compose(seed)                # vectors in a unit frame
    truth = render(scene, 256, 256)      # picture, classes, depth, normal, outlines, edges, lines, skeleton
    text = caption(scene, rng)

`world` draws, `model` holds the networks, `training` and `evaluation` teach and measure them. Only the first is imported here.
"""

from paperworld.world import freehand
from paperworld.world.caption import Facts, caption, facts
from paperworld.world.rendering import Rendering, render
from paperworld.world.scene import Scene, compose
from paperworld.world.words import WORDS

__all__ = ["WORDS", "Facts", "Rendering", "Scene", "caption", "compose", "facts", "freehand", "render"]
