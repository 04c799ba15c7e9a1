"""What models put around their reasoning and their answer, and which of these a chat template knows."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Markers:
    """`signs`: all of them are in the templates that know these; none: the closing marker is. `wraps`: what stands
    around the answer itself, and is nobody's; $NAME in it stands for a tool's. `marks`: control tokens in all of these,
    where they are not control tokens as a whole. `then`: what stands between the reasoning and the answer. `again`:
    there may be more reasoning after it. `lead`: what an answer may begin with, and is nobody's.

    `opens` "": the model does not reason."""

    opens: str
    closes: str
    then: str = ""
    again: bool = False
    lead: str = ""
    signs: tuple[str, ...] = ()
    wraps: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()

    def opened(self, prompt: str) -> bool:
        """Whether the prompt has begun the reasoning already: its last opening is not closed."""
        return self.open_in(prompt) and prompt.rstrip().endswith(self.opens)

    def open_in(self, answer: str) -> bool:
        """Whether so much of an answer ends in its reasoning."""
        return answer.rfind(self.opens) > answer.rfind(self.closes)

    def fits(self, template: str) -> bool:
        return all(sign in template for sign in self.signs or (self.closes,))

    def wraps_of(self, tools: Iterable[str]) -> tuple[str, ...]:
        """With the names of these tools."""
        named = [wrap.replace("$NAME", name) for wrap in self.wraps if "$NAME" in wrap for name in tools]
        return (*(wrap for wrap in self.wraps if "$NAME" not in wrap), *named)

    @property
    def left(self) -> str:
        """What ends the reasoning and goes on to the answer."""
        return self.closes + self.then

    @property
    def forced(self) -> str:
        """What a reasoning is ended with that takes too long."""
        return self.left if self.then else f"\n{self.closes}\n\n"

    @property
    def spoken(self) -> set[str]:
        """The texts of control tokens that a parser must see."""
        return {self.opens, self.closes, *self.wraps, *self.marks} - {""}


KNOWN = (
    # Granite 3.3 and Hunyuan, whose answers have marks, too; MiniMax M1, whose template says nothing of its reasoning.
    Markers("<think>", "</think>", signs=("<response></response>",), wraps=("<response>", "</response>")),
    Markers("<think>", "</think>", signs=("'<answer>'", "</think>"), wraps=("<answer>", "</answer>")),
    Markers("<think>", "</think>", signs=("<beginning_of_sentence>ai name=assistant", "<tool_calls>")),
    Markers("<think>", "</think>"),
    Markers("[THINK]", "[/THINK]"),
    Markers(
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        wraps=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
    ),
    Markers("<seed:think>", "</seed:think>"),
    Markers("◁think▷", "◁/think▷"),
    Markers("<mm:think>", "</mm:think>"),
    Markers("<reasoning>", "</reasoning>"),
    Markers("<|inner_prefix|>", "<|inner_suffix|>"),
    Markers("<|channel>thought", "<channel|>"),
    Markers("", "", signs=(">>>${recipient}",), lead="all\n", wraps=(">>>all\n",)),
    Markers(
        "<|channel|>analysis<|message|>",
        "<|end|>",
        then="<|start|>assistant",
        again=True,
        signs=("<|channel|>analysis<|message|>", "<|start|>assistant"),
        wraps=(
            "<|start|>assistant",
            "<|channel|>final<|message|>",
            "<|channel|>commentary<|message|>",
            "<|end|>",
            "<|return|>",
        ),
        marks=("<|start|>", "<|channel|>", "<|message|>"),
    ),
    Markers("Here is my thought process:", "Here is my response:"),
    Markers("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", wraps=("[END FINAL RESPONSE]",)),
    Markers("<longcat_think>", "</longcat_think>"),
    Markers("<think:opensource>", "</think:opensource>", signs=("</think{}>", ":opensource")),
    Markers(
        "<|think|>",
        "<|end|>",
        then="<|begin|>assistant",
        signs=("<|begin|>assistant<|think|>", "<|begin|>assistant<|content|>"),
        wraps=("<|begin|>assistant", "<|content|>", "<|end|>"),
        marks=("<|begin|>",),
    ),
    Markers(
        "<|open|>think<|sep|>",
        "<|close|>think<|sep|>",
        then="<|open|>response<|sep|>",
        signs=("'<|open|>' + tag", "'<|close|>' + tag + '<|sep|>'"),
        wraps=("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>"),
        marks=("<|open|>", "<|close|>", "<|sep|>"),
    ),
    Markers(
        "to=self<|message|>",
        "<|eom|>",
        then="<|start|>assistant",
        signs=("assistant to=self<|message|>", "<|eom|>"),
        wraps=("to=user<|message|>", "to=$NAME<|message|>", "<|start|>assistant", "<|eom|>", "<|eot|>"),
        marks=("<|message|>", "<|start|>"),
    ),
)


def detect(template: str) -> Markers | None:
    """Those whose end the template knows: some only ever write the end."""
    return next((markers for markers in KNOWN if markers.fits(template)), None)
