from anabranch.serving.deploying import *  # noqa: F403
from anabranch.serving.deployment import *  # noqa: F403
from anabranch.serving.ordered_runs import *  # noqa: F403
