"""The ground floor: files, errors, texts, choices, arrays and drawing, for all rooms. Imports none of them."""

import os

# torch reads this when it is loaded, so it is set before any room loads torch. Waiting threads spin by default, which
# slows concurrent work down by up to 20 times and gains nothing otherwise.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
