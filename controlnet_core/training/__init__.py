"""Training: one loop for everything that learns here, and ControlNets as its main pupils.

    loop      steps, checkpoints, resumption; knows no network
    control   the ControlNet at its base model as one module whose forward pass is the loss
    feed      batch n of a data set as a function of n, with cached latents and texts
    trainer   a whole training from its configuration to weights in the models folder
    export    weights as a diffusers folder or a single file

What decides a training, and what one tells while it runs, stands in `controlnet_core.runs`, which needs no torch.
"""

from controlnet_core.training.loop import Group, Plan, Progress, Step, Wish, read, train

__all__ = ["Group", "Plan", "Progress", "Step", "Wish", "read", "train"]
