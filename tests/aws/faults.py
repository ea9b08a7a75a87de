"""microburst, the proxy that injects faults, with bodies as large as AWS takes: by itself it refuses more than a megabyte."""

import functools
import sys

import aiohttp.web
from microburst.cli import main

aiohttp.web.Application = functools.partial(aiohttp.web.Application, client_max_size=32 << 20)

if __name__ == "__main__":
    sys.exit(main())
