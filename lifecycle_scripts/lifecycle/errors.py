"""How a step says that it cannot go on. The message is what an operator reads in the report."""


class StepError(Exception):
    """The step cannot be done, and trying again would not change that."""


class NotYetError(StepError):
    """The step cannot be done now, and may well be a little later: it is tried again for a while."""


class CommandError(StepError):
    """A command exited with something else than 0; `errors` is what it said on standard error."""

    def __init__(self, program: str, exit_code: int, errors: str) -> None:
        self.exit_code = exit_code
        self.errors = errors
        super().__init__(f"{program} exited with {exit_code}: {errors}")
