"""``python -m evaluation`` is ``car``."""

from evaluation.cli.app import main

main()
