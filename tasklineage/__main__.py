"""`python -m tasklineage`: the command `tasklineage`."""

from tasklineage.cli.main import main

main()
