"""Training: one loop for everything that learns here, and ControlNets as its main pupils.

run              what decides a training and what it tells while it runs, as a plain folder; needs no torch
loop             steps, checkpoints, resumption; knows no network
controlnet_loss  the ControlNet at its base model as one module whose forward pass is the loss
dataloader       batch n of a data set as a function of n, with cached latents and texts
trainer          a whole training from its configuration to weights in the models folder
export           weights as a diffusers folder or a single file
weight_init      how zero convolutions and white bases begin
"""
