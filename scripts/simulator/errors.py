"""The errors of the simulator. The text of each is one line that says what to do."""


class SimulatorError(Exception):
    """The command cannot continue; the text is one line for the operator."""


class OutputError(SimulatorError):
    """The output cannot be written."""


class InputError(SimulatorError):
    """A file that was named cannot be used."""


class PortTakenError(SimulatorError):
    """The API's address cannot be bound."""


class MalformedAnswerError(SimulatorError):
    """A recommender's body breaks the contract; the text names the breach."""
