"""Whether all is well on a GPU, and how fast it is: `make gpu`, or `python -m tests.gpu`.

`right` proves it right and `fast` measures it, each line in a process of its own; `table` says what came out. `paper` stands in
for CUDA where there is none, so that a rehearsal runs every line.
"""
