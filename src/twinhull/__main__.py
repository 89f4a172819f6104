"""Start the command: `python -m twinhull`, or this file given to a bare interpreter (`python -IS FILE`).

Promise: nothing is looked for in site-packages before the standard library. The script of an installed wheel
(scripts/twinhull, scripts/twinhull-oci) depends on the second form.
"""

from __future__ import annotations

import sys

if not __package__:  # run as a file: the interpreter does not know where the package lies
    sys.path.append(__file__.rpartition("/twinhull/")[0])

if __name__ == "__main__":
    if sys.argv[1:2] == ["oci-runtime"]:  # scripts/twinhull-oci
        from twinhull.cli.oci import main as oci_main

        oci_main(sys.argv[2:])
    from twinhull.cli.main import main

    main()
