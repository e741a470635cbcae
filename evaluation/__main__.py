"""``python -m evaluation`` is ``car``."""

from evaluation.cli import main

main()
