# SPDX-License-Identifier: Apache-2.0
"""`python -m pinverify`: the command line."""

from pinverify.cli import main

if __name__ == "__main__":
    main()
