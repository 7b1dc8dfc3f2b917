"""`python -m biomeformer`, the same as the `biomeformer` command."""

from biomeformer.cli import main

if __name__ == "__main__":
    main()
