"""`twinhull-oci-vm` of an installed wheel: as oci_script.py, and its name chooses the isolation."""

from __future__ import annotations

import sys
from gc import set_threshold

COLLECT_AFTER = 50_000  # objects, as in cli/main.py: before the imports, for what they make stays

if __name__ == "__main__":
    set_threshold(COLLECT_AFTER)
    sys.path.append(__file__.rpartition("/twinhull/")[0])
    from twinhull.cli.oci import main

    main()
