"""
The command: ``python -m trip_booker`` runs the app and restarts it when it is killed.

``python -m trip_booker serve`` is the serving process alone: kill it, and it stays dead until you start it again.
``python -m trip_booker --inngest`` keeps the runs on an Inngest server.
"""

from __future__ import annotations

import argparse
import sys

from trip_booker import settings
from trip_booker.supervisor import Supervisor

SERVE = "serve"
UNTIL_END_OF_INPUT = "--until-end-of-input"

WHAT_TO_TRY = """\
Open {url} in a browser, book a trip, and kill the server while it pays.

Or book from another terminal:
  curl -L '{url}/api/booking?bookingId=BK-1&origin=NYC&destination=LAX&date=2026-12-24'
Let the seat reservation fail twice (curl -L follows the redirect to the answer):
  curl -L '{url}/api/booking?bookingId=BK-2&fail=reserve-flight:2'
Let the bank decline the card (402, and the seat is given back):
  curl -L '{url}/api/booking?bookingId=BK-3&fail=process-payment:always'
Kill the server while it charges the card, then ask what became of the booking:
  curl -L '{url}/api/booking?bookingId=BK-4&crash=process-payment'
  curl '{url}/api/bookings/BK-4/calls'
Book flight, hotel and car side by side, with a hotel that fails twice, and one that has no room (409):
  curl -L '{url}/api/package?fail=book-hotel:2' -H 'Content-Type: application/json' \\
    -d '{{"bookingId": "PK-1", "flightId": "SB418", "hotelId": "plaza", "carId": "mini"}}'
  curl -L '{url}/api/package?fail=book-hotel:always' -H 'Content-Type: application/json' \\
    -d '{{"bookingId": "PK-2", "flightId": "SB418", "hotelId": "plaza", "carId": "mini"}}'
Order something (POST; the body is kept with the run), then ask for the calls made for its user:
  curl -L '{url}/api/orders?crash=process' -H 'Content-Type: application/json' \\
    -d '{{"userId": "ada", "data": {{"item": "umbrella"}}}}'
  curl '{url}/api/bookings/ada/calls'

Stop with Ctrl-C.
"""


def main() -> int:
    """Run the app under its supervisor, or serve it; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="trip_booker", description="Run Trip Booker, and restart it when it is killed."
    )
    commands = parser.add_subparsers(dest="command", metavar=f"[{SERVE}]")
    serve = commands.add_parser(SERVE, help="serve without a supervisor")
    serve.add_argument(UNTIL_END_OF_INPUT, action="store_true", help="stop when standard input is closed")
    parser.add_argument(
        "--inngest", action="store_true", help="keep the runs on an Inngest server: `npx inngest-cli@latest dev`"
    )
    arguments = parser.parse_args()
    try:
        port = settings.port()
        settings.speed()
    except ValueError as error:
        parser.error(str(error))
    if arguments.command == SERVE:
        if arguments.inngest:
            parser.error(f"--inngest restarts the server too; for {SERVE} alone set INNGEST_DEV=1")
        # Imported only where it is needed: the supervisor starts quickly, without the app in its memory.
        from trip_booker import server

        if arguments.until_end_of_input:
            server.stop_at_end_of_input()
        server.run()
        return 0
    if arguments.inngest:
        from trip_booker import inngest_server

        inngest_server.choose()
        if (what_to_do := inngest_server.missing()) is not None:
            print(what_to_do, file=sys.stderr)
            return 1
        print(f"Runs are kept on the Inngest server at {inngest_server.url()}.\n")
    print(WHAT_TO_TRY.format(url=f"http://{settings.HOST}:{port}"), flush=True)
    command = [sys.executable, "-m", "trip_booker", SERVE, UNTIL_END_OF_INPUT]
    return Supervisor(command, report=lambda sentence: print(sentence, flush=True)).run()


if __name__ == "__main__":
    sys.exit(main())
