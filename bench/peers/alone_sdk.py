"""The command line of an SDK that makes load."""

import argparse
import contextlib
import json
import pathlib
import sys
import tempfile

from figures import sdk, take
from figures.arguments import numbers, positive

from . import process, sempre
from .cache import Unavailable
from .sides import Moment


def main(doc: str, generator: str) -> None:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=list(take.UNITS))
    parser.add_argument("--in-flight", type=numbers, help="how many at once, one measurement each (default: 1,16,64; steps: 1)")
    parser.add_argument("--seconds", type=positive, default=10)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--sempre", type=pathlib.Path, help="our server (default: SEMPRE_BIN, or the release build)")
    parser.add_argument("--address", help="HOST:PORT of a server that runs already")
    parser.add_argument("--name", default="server", help="what the figures call that server")
    parser.add_argument("--pid", type=int, action="append", default=[], help="a process of that server, or of its database")
    parser.add_argument("--folder", type=pathlib.Path, help="where the data is (default: the system's temporary folder)")
    options = parser.parse_args()
    if options.address and options.sempre:
        parser.error("--address is a server that runs, --sempre one to start: give one of them")
    if options.pid and not options.address:
        parser.error("--pid belongs to --address")
    process.end_as_by_exception()
    in_flights = options.in_flight or ([1] if options.workload == "steps" else [1, 16, 64])
    found = []
    with tempfile.TemporaryDirectory(prefix="sempre-sdk-", dir=options.folder) as folder:
        folder = pathlib.Path(folder)
        try:
            for number in range(1, options.rounds + 1):
                for in_flight in in_flights:
                    at = Moment(options.workload, in_flight, options.seconds, number)
                    with contextlib.ExitStack() as stack:
                        name, address, pids = options.name, options.address, options.pid
                        if not address:
                            binary = sempre.program("sempre", options.sempre, "SEMPRE_BIN")
                            address, pid = stack.enter_context(sempre.start(binary, folder))
                            name, pids = sempre.NAME, [pid]
                        found.append(sdk.measure(generator, address, pids, name, at, folder))
        except (Unavailable, take.Failed) as error:
            sys.exit(str(error))
    print(json.dumps({"figures": found}, indent=2))
