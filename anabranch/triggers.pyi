from anabranch.engine.triggers import *  # noqa: F403
