"""`python -m fastbn.cli` is the same as `fastbn`."""

import sys

from fastbn.cli import main

sys.exit(main())
