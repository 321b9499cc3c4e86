from __future__ import annotations

import sys

from kvcore.cli.server import main

sys.exit(main())
