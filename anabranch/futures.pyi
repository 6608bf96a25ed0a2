from anabranch.core.futures import *  # noqa: F403
from anabranch.core.waiting import *  # noqa: F403
