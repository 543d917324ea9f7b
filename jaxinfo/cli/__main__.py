"""`python -m jaxinfo.cli` is `jaxinfo`."""

from jaxinfo.cli._app import main

if __name__ == "__main__":
    main()
