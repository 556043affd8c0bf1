"""The steps, one module each, in the order in which they run.

`identify` comes first: what it finds, the others go by.
"""

from lifecycle.step import Step
from lifecycle.steps import identify

STEPS: tuple[Step, ...] = (identify.STEP,)
