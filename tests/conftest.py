"""What holds for every test: no property fails for being slow, since the machines that run them are shared.

Two workers run on two cores, so each computes on one thread, and so do the processes that it starts: four threads would
wait for one another three times as long as they work. A setting from outside stays.
"""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
