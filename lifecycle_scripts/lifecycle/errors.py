"""How a step says that it cannot go on. The message is what an operator reads in the report."""


class StepError(Exception):
    """The step cannot be done, and trying again would not change that."""


class NotYetError(StepError):
    """The step cannot be done now, and may well be a little later: it is tried again for a while."""
