"""What a library says of a fault that may end this process, where the server finds it when the process is gone."""

import time

from nitro.engines.crash_marks import MAX_WORDS, CrashMarks

TOGETHER = 1.0  # seconds within which several lines are of one fault


class LastWords:
    """Of one process. Any thread may call `note`, also from inside a library that is about to end the process."""

    def __init__(self) -> None:
        self._marks: CrashMarks | None = None
        self._text = ""
        self._at = 0.0
        self._waits = False  # whether that is what it waits for, and no fault

    def write_to(self, marks: CrashMarks) -> None:
        """Keep them there from now on."""
        self._marks = marks

    def note(self, line: str) -> None:
        """One line. The first lines of a fault stay: they say most."""
        now = time.monotonic()
        line = line.strip().rstrip(".")
        together = self._text and not self._waits and now - self._at < TOGETHER
        self._waits = False
        self._text = f"{self._text}; {line}"[:MAX_WORDS] if together else line
        self._at = now
        if self._marks:
            self._marks.say(self._text, now)

    def foretell(self, line: str, seconds: float) -> None:
        """What will be said, should the process be ended so many seconds from now by what cannot say anything."""
        if self._marks:
            self._marks.say(line, time.monotonic() + seconds)

    def take_back(self) -> None:
        """It was not ended."""
        self._text = ""
        if self._marks:
            self._marks.say("", 0.0)

    def replace(self, line: str) -> None:
        """Instead of all that was noted: what the fault is, as whoever knows it says."""
        self._text = ""
        self.note(line)

    def wait_for(self, what: str) -> None:
        """What this process waits for at the moment; "": for nothing. A fault that was noted just now stays."""
        now = time.monotonic()
        if not self._waits and (not what or (self._text and now - self._at < TOGETHER)):
            return
        self._waits = bool(what)
        self._text, self._at = what[:MAX_WORDS], now
        if self._marks:
            self._marks.say(self._text, now)


OF_THIS_PROCESS = LastWords()
