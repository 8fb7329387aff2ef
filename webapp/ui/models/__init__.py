"""Model files on this machine: fetching, checking, adding, making new ones, and choosing the one that draws."""
