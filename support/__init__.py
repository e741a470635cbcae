"""The ground floor: files, errors, texts, choices, arrays and drawing, for all rooms. Imports none of them."""

import os

# Read when torch is loaded, so set before any room does that. Waiting threads spin by default, which made work next to
# other work up to 20 times slower and gains nothing otherwise.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
