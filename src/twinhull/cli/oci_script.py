"""`twinhull-oci` of an installed wheel, as a file for a bare interpreter (`python -IS FILE`): see launcher/front.h."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.append(__file__.rpartition("/twinhull/")[0])
    from twinhull.cli.oci import main

    main()
