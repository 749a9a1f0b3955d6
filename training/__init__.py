"""Fine-tuning: recipes, the trainer, and the export to an encoder that search can load."""

import os

# Read when torch is first imported. OpenMP's threads spin while they wait for one another: beside
# any other work on the same cores, a search page or a second training, that made a training four
# times slower (367 s instead of 94 on two cores), and alone it gains a few per cent at most.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
