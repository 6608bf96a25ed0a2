"""`python -m anabranch`: the command, where its script is not in the path."""

from anabranch.cli import main

if __name__ == "__main__":
    main()
