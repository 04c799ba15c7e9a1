"""The markers that models put around their reasoning and their answer, and which of them a chat template knows."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Markers:
    """A family's markers. `open_tag` "": the model does not reason, but has tags around its answer."""

    open_tag: str  # before the reasoning
    close_tag: str  # after it
    after_reasoning: str = ""  # what stands between `close_tag` and the answer
    repeats: bool = False  # more reasoning may follow the first one
    optional_prefix: str = ""  # what an answer may begin with, and is dropped
    template_markers: tuple[str, ...] = ()  # the family's chat templates contain all of these; none: its `close_tag`
    ignored_tags: tuple[str, ...] = ()  # tags around the answer itself, which are dropped; $NAME: any tool's name
    special_tokens: tuple[str, ...] = ()  # parts of these tags that are control tokens where a whole tag is none

    def opened_by(self, prompt: str) -> bool:
        """Whether the prompt ends with the opening of the reasoning."""
        return self.left_open_by(prompt) and prompt.rstrip().endswith(self.open_tag)

    def left_open_by(self, answer: str) -> bool:
        """Whether this beginning of an answer ends within its reasoning."""
        return answer.rfind(self.open_tag) > answer.rfind(self.close_tag)

    def fits(self, template: str) -> bool:
        """Whether the template is of this family."""
        return all(mark in template for mark in self.template_markers or (self.close_tag,))

    def ignored_tags_for(self, tools: Iterable[str]) -> tuple[str, ...]:
        """The ignored tags with the names of these tools."""
        named = [tag.replace("$NAME", name) for tag in self.ignored_tags if "$NAME" in tag for name in tools]
        return (*(tag for tag in self.ignored_tags if "$NAME" not in tag), *named)

    @property
    def to_answer(self) -> str:
        """The text that ends the reasoning and leads to the answer."""
        return self.close_tag + self.after_reasoning

    @property
    def forced_end(self) -> str:
        """The text that ends a reasoning which takes too long."""
        return self.to_answer if self.after_reasoning else f"\n{self.close_tag}\n\n"

    @property
    def visible_special_tokens(self) -> set[str]:
        """The control tokens whose text a parser must see."""
        return {self.open_tag, self.close_tag, *self.ignored_tags, *self.special_tokens} - {""}


KNOWN = (
    # Granite 3.3 and Hunyuan, whose answers have tags, too; MiniMax M1, whose template does not mention its reasoning.
    Markers(
        "<think>", "</think>", template_markers=("<response></response>",), ignored_tags=("<response>", "</response>")
    ),
    Markers("<think>", "</think>", template_markers=("'<answer>'", "</think>"), ignored_tags=("<answer>", "</answer>")),
    Markers("<think>", "</think>", template_markers=("<beginning_of_sentence>ai name=assistant", "<tool_calls>")),
    Markers("<think>", "</think>"),
    Markers("[THINK]", "[/THINK]"),
    Markers(
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        ignored_tags=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
    ),
    Markers("<seed:think>", "</seed:think>"),
    Markers("◁think▷", "◁/think▷"),
    Markers("<mm:think>", "</mm:think>"),
    Markers("<reasoning>", "</reasoning>"),
    Markers("<|inner_prefix|>", "<|inner_suffix|>"),
    Markers("<|channel>thought", "<channel|>", repeats=True, ignored_tags=("<channel|>", "<|channel>")),
    Markers("", "", template_markers=(">>>${recipient}",), optional_prefix="all\n", ignored_tags=(">>>all\n",)),
    Markers(
        "<|channel|>analysis<|message|>",
        "<|end|>",
        after_reasoning="<|start|>assistant",
        repeats=True,
        template_markers=("<|channel|>analysis<|message|>", "<|start|>assistant"),
        ignored_tags=(
            "<|start|>assistant",
            "<|channel|>final<|message|>",
            "<|channel|>commentary<|message|>",
            "<|end|>",
            "<|return|>",
        ),
        special_tokens=("<|start|>", "<|channel|>", "<|message|>"),
    ),
    Markers("Here is my thought process:", "Here is my response:"),
    Markers("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", ignored_tags=("[END FINAL RESPONSE]",)),
    Markers("<longcat_think>", "</longcat_think>"),
    Markers("<think:opensource>", "</think:opensource>", template_markers=("</think{}>", ":opensource")),
    Markers(
        "<|think|>",
        "<|end|>",
        after_reasoning="<|begin|>assistant",
        template_markers=("<|begin|>assistant<|think|>", "<|begin|>assistant<|content|>"),
        ignored_tags=("<|begin|>assistant", "<|content|>", "<|end|>"),
        special_tokens=("<|begin|>",),
    ),
    Markers(
        "<|open|>think<|sep|>",
        "<|close|>think<|sep|>",
        after_reasoning="<|open|>response<|sep|>",
        template_markers=("'<|open|>' + tag", "'<|close|>' + tag + '<|sep|>'"),
        ignored_tags=("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>"),
        special_tokens=("<|open|>", "<|close|>", "<|sep|>"),
    ),
    Markers(
        "to=self<|message|>",
        "<|eom|>",
        after_reasoning="<|start|>assistant",
        template_markers=("assistant to=self<|message|>", "<|eom|>"),
        ignored_tags=("to=user<|message|>", "to=$NAME<|message|>", "<|start|>assistant", "<|eom|>", "<|eot|>"),
        special_tokens=("<|message|>", "<|start|>"),
    ),
)


def detect(template: str) -> Markers | None:
    """The markers that the template knows, by their end: some templates only ever write that."""
    return next((markers for markers in KNOWN if markers.fits(template)), None)
