"""``python -m longtail.cli``: the command line."""

from longtail.cli.app import main

main()
