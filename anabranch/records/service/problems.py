"""The types of problems, as they stand in a server's answers: part of the API, never renamed."""

from __future__ import annotations

ACCESS = "anabranch:access"  # no key, a wrong one, or one that may not do that
BUSY = "anabranch:busy"  # ask again in a moment
PARAMETERS = "anabranch:parameters"  # those of an order do not fit its flow's
MISSING = "anabranch:not-found"  # what was named is not there
REQUEST = "anabranch:request"  # it does not fit the route
ROUTE = "anabranch:route"  # the server has no such route: an older version
SERVER = "anabranch:server"  # a defect of the server
SERVICE = "anabranch:service"  # what the service cannot do
STORE = "anabranch:records"  # the record cannot be used
TAKEN = "anabranch:taken"  # another driver has the run
