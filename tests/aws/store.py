"""DynamoDB of a local AWS for one test program: prints its address, then injects the faults that it reads from standard input.

    python store.py SCRATCH

Prints the address. Each line of input is a JSON list of faults that replaces those before; the answer is how many of those before
fired. The end of input ends everything, so nothing outlives the program that started it.
"""

import json
import sys

from cloud import Cloud


class Store(Cloud):
    """The local AWS without Timestream."""

    def start_timestream(self):
        pass


def main():
    with Store(sys.argv[1]) as cloud:
        print(f"http://127.0.0.1:{cloud.faults_port}", flush=True)
        before = cloud.fired()
        for line in sys.stdin:
            fired = cloud.fired()
            cloud.set_faults(json.loads(line))
            print(fired - before, flush=True)
            before = fired


if __name__ == "__main__":
    main()
