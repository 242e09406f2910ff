"""What can go wrong with the lab itself; the message is what a person reads."""


class LabError(Exception):
    """The lab cannot do what was asked; the message says why and what to do."""
