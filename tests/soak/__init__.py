"""Hard tests with figures: load, kills, full disks, hostile input, and long work. `make soak` prints one table.

Each file holds one `check` that takes an amount and returns rows; `test_soak.py` runs small amounts of all with the other tests.
"""
