"""The command line of a peer that is measured by itself."""

import argparse
import json
import pathlib
import sys
import tempfile

from figures import take
from figures.arguments import numbers, positive

from . import process
from .cache import Unavailable


def parser(doc: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=list(take.UNITS))
    parser.add_argument("--in-flight", type=numbers, help="how many at once, one measurement each (default: 1,16,64,256; steps: 1)")
    parser.add_argument("--seconds", type=positive, default=10)
    parser.add_argument("--rounds", type=positive, default=1)
    parser.add_argument("--folder", type=pathlib.Path, help="where the data is (default: the system's temporary folder)")
    return parser


def main(doc: str, peer) -> None:
    """`peer` is the module of one."""
    options = parser(doc).parse_args()
    process.end_as_by_exception()
    in_flights = options.in_flight or ([1] if options.workload == "steps" else [1, 16, 64, 256])
    found = []
    with tempfile.TemporaryDirectory(prefix="sempre-peer-", dir=options.folder) as folder:
        # A database runs as another user.
        pathlib.Path(folder).chmod(0o755)
        try:
            with peer.start(pathlib.Path(folder)) as running:
                for number in range(1, options.rounds + 1):
                    for in_flight in in_flights:
                        found.append(running.measure(options.workload, in_flight, options.seconds, number))
        except (Unavailable, take.Failed) as error:
            sys.exit(f"{peer.NAME}: {error}")
    print(json.dumps({"figures": found}, indent=2))
