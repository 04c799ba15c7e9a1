"""What models put around their reasoning, and which of these a chat template knows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Markers:
    opens: str
    closes: str

    def opened(self, prompt: str) -> bool:
        """Whether the prompt has begun the reasoning already: its last opening is not closed."""
        return prompt.rfind(self.opens) > prompt.rfind(self.closes) and prompt.rstrip().endswith(self.opens)


KNOWN = (
    Markers("<think>", "</think>"),
    Markers("[THINK]", "[/THINK]"),
    Markers("<|START_THINKING|>", "<|END_THINKING|>"),
    Markers("<seed:think>", "</seed:think>"),
    Markers("◁think▷", "◁/think▷"),
    Markers("<mm:think>", "</mm:think>"),
    Markers("<reasoning>", "</reasoning>"),
)


def detect(template: str) -> Markers | None:
    """Those whose end the template knows: some only ever write the end."""
    return next((markers for markers in KNOWN if markers.closes in template), None)
