"""The networks behind the detectors that need weights. Importing a module here imports torch; `annotator` does not.

Only what no library has is built here (HED, M-LSD, OpenPose, the line art generators), with the key names of the
released files; the rest runs through transformers.
"""
