"""A wrong value of a field of a recipe, and values that are wrong in every field of a type."""

from typing import NamedTuple


class Wrong(NamedTuple):
    """A value in TOML that cannot work together with `also`, more fields as `--set` takes them."""

    value: str
    also: tuple[str, ...] = ()
    shown: str = ""
    """Start of the message, if it is not the field with the value."""


HUGE = "1180591620717411303424"
"""2**70: more than a column of whole numbers holds."""
FLOAT = ("nan", "inf", "-inf", '"much"')
POSITIVE_FLOAT = ("0.0", "-1.0", *FLOAT)
NON_NEGATIVE_FLOAT = ("-0.5", *FLOAT)
FRACTION = ("-0.1", "1.5", *FLOAT)
COUNT = ("-1", "1.5", "true", '"many"', HUGE)
POSITIVE = ("0", *COUNT)
SEED = ("-1", "4294967296", "1.5", HUGE)
SWITCH = ("1", '"yes"')
TEXT = ('""', "3")
FREE_TEXT = ("3",)
TEXTS = ('[""]', "[3]", '"one"')
NAME = ('""', '"../up"', '"Big"', "3")
CHOICE = ('"other"', "3", '""')

ONE_PHASE = 'phases=[{name="one", tokens=1024, weights={notes=1.0}}]'
NO_PHASES = (
    "phases=[]",
    'finetune=[{name="tuned", from="./base", epochs={notes=1.0}, peak_lr=0.001}]',
)
