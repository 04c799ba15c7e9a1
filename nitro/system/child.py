"""The entry of every child process: `python -m nitro.system.child MODULE DESCRIPTOR…` runs that module's `main`, which
sees the descriptors as its arguments. The collector of garbage rests until the module says that it is ready.
"""

import importlib
import sys

from nitro.system import gc_tuning

if __name__ == "__main__":
    del sys.argv[0]
    with gc_tuning.resting():
        importlib.import_module(sys.argv[0]).main()
