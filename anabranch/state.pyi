from anabranch.core.states import *  # noqa: F403
