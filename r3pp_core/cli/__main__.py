"""`python -m r3pp_core.cli` is `r3pp`."""

import sys

from r3pp_core.cli import main

sys.exit(main())
