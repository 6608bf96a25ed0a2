from anabranch.core.future_lists import *  # noqa: F403
from anabranch.core.futures import *  # noqa: F403
from anabranch.core.map_states import States as States
from anabranch.core.waiting import *  # noqa: F403
