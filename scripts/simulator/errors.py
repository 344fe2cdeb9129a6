"""What can go wrong for a caller, each with a line that says what to do."""


class SimulatorError(Exception):
    """The command cannot go on; the text is one readable line for the operator."""


class OutputError(SimulatorError):
    """The output cannot be written."""


class InputError(SimulatorError):
    """A file that was named cannot be used."""


class PortTakenError(SimulatorError):
    """The API's address cannot be bound."""


class MalformedAnswerError(SimulatorError):
    """A recommender's body breaks the contract; the text names the breach."""
