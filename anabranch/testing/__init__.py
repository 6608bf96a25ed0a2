"""Tools for tests of code that uses anabranch, and of anabranch itself.

- `ManualClock`: time that moves only when told to.
- `FakeRemoteRunner`: a runner that behaves as if its workers were elsewhere: arguments and values are
  pickled, values stay with the worker that made them, and faults come by script or by seed.
"""

from __future__ import annotations

from anabranch.testing.clock import ManualClock
from anabranch.testing.fake_runner import FakeRemoteRunner
from anabranch.testing.fake_worker import Faults

__all__ = ["FakeRemoteRunner", "Faults", "ManualClock"]
