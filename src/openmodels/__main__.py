"""`python -m openmodels`: the same as the command `openmodels`."""

from openmodels.cli import main

if __name__ == "__main__":
    main()
