"""How much memory a run takes, in how many bits it computes, and which network is where meanwhile."""
