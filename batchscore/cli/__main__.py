"""`python -m batchscore.cli`."""

from batchscore.cli import main

main()
