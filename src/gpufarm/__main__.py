"""`python -m gpufarm` is the `gpufarm` command."""

import sys

from gpufarm.cli.shell import main

sys.exit(main())
