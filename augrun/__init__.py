"""augrun: does what a generator makes carry its class, and does training on it help?"""

import os

from augrun.core.runtime import import_hooks

# Threads that wait for work must sleep, not spin: two jobs on one machine's cores otherwise slow each other
# down ten times and more (5 s against 0.35 s for one MobileNetV2 step on two busy cores). OpenMP reads this
# when it is loaded, with torch, so it is said before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Whether there is a GPU is asked without starting CUDA, which would then see the same ones for good
# (`augrun.core.runtime.gpu_slots`).
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
import_hooks.start()
