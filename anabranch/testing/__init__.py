"""Tools for tests of code that uses anabranch, and of anabranch itself.

- `ManualClock`: time that moves only when told to.
- `FakeRemoteRunner`: a runner whose workers are elsewhere in all but name: every byte is
  pickled, values stay with the worker that made them, and faults come by script or by seed.
"""

from __future__ import annotations

from anabranch.testing.clock import ManualClock
from anabranch.testing.fake_runner import FakeRemoteRunner
from anabranch.testing.fake_worker import Faults

__all__ = ["FakeRemoteRunner", "Faults", "ManualClock"]
