"""
Random chaos: workers under load are killed, paused, cut off from their disk and their clock; then the books are done.

`python -m chaos --minutes 5 --seed 1` (or `nox -s chaos -- …`) starts two workers on Quart and two on Flask, all on one
SQLite file, and clients that send them requests of every kind. Meanwhile a `plan`, made from the seed, disturbs them.
When all is quiet again, every request that was sent is accounted for by the `books`: nothing lost, nothing twice, none
stuck, and no error at a client that no disturbance explains. `docs/chaos.md` tells how to read what it prints.
"""
