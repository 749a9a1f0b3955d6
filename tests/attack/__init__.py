"""Attacks on the whole system: forged files, kills, small disks, crowds. `make attack` runs them.

All are slow tests, so `make test-slow` runs them too; `make attack` also prints their figures,
which docs/security.md repeats.
"""
