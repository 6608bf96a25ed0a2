from anabranch.core.policies import *  # noqa: F403
