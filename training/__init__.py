"""Fine-tuning: recipes, the trainer, and the export to an encoder that search can load."""

import os

# Read when torch is first imported. By default OpenMP's threads spin while they wait for one
# another, and keep their cores from other work: two small trainings at once on two cores took
# 367 s each, and 94 s without spinning. One alone took 91 s, and 97 s without spinning.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
