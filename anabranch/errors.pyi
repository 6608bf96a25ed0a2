from anabranch.core.errors import *  # noqa: F403
