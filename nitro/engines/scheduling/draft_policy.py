"""Which guesses are checked in a step: the sources say what may follow, this says what of it pays.

Three things are learnt: what a step costs by its rows, and a pass of the draft model by its sequences (`step_cost.py`);
how likely a guess is to be right (`draft_chances.py`). From them follows how many guesses of which sequence to check
(`draft_plan.py`). What is not known yet is tried now and then: there is an allowance for that, a small part of the
time. Pure: it is given the times.
"""

from dataclasses import dataclass

from nitro.engines.runner import Chunk
from nitro.engines.scheduling.draft_chances import Chances, SourceName, own_chances, shared_chances
from nitro.engines.scheduling.draft_plan import LEAST_GAIN, Chain, Plan, best_plan, likeliest
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.scheduling.speculation import MAX_DRAFT, Drafter, Guess
from nitro.engines.scheduling.step_cost import StepCost
from nitro.engines.types import ModelInfo

ALLOWANCE = 0.006  # of the time: what trying may cost
FIRST_ALLOWED = 2.0  # steps: what there is of it to begin with
MOST_ALLOWED = 16.0  # steps: what may be saved up of it
TRIED = (1, 2, 4, 8, 16, 32)  # guesses in a step that is to tell what so many cost
TRIED_CHANCE = 0.9  # what a draft model that has not paid is taken for, to see whether it does now
FIRST_PASS = 0.25  # of a step: a pass of the draft model, before any was measured
LEAST_PASS = 0.02  # of a step: what it may be
NO_PLAN = Plan([], 0.0, 0.0)
CATCHES_UP = MAX_DRAFT + 1  # tokens that it may be behind for a pass of it to be a usual one
LEAST_CAUGHT_UP = 64  # tokens: by so many it catches up, at least, when it is asked and gives no guess


@dataclass(slots=True)
class Candidate:
    """Guesses of one source that may be checked."""

    sequence: Sequence
    chunk: Chunk
    source: SourceName
    chain: Chain


def draft_limit(info: ModelInfo, decodes: int) -> int:
    """Draft tokens for so many sequences together: what the step and the runner take."""
    if not 0 < decodes <= info.draft_rows:
        return 0
    rows = info.attention_tile_rows - decodes if info.attention_tile_rows else info.step_tokens - info.parallel
    return min(info.draft_tokens, rows - 1)


class DraftPolicy:
    """For one scheduler. `plan` before a step, `settle` for each sequence after it, and `observe` at its end."""

    def __init__(self, has_draft_model: bool = False):
        self.asked: list[tuple[Chunk, int]] = []  # of whom the draft model is to guess how many tokens before the step
        self._has_draft_model = has_draft_model
        self._step_cost = StepCost()
        self._pass_cost = StepCost()  # of the draft model, by the sequences that it guesses for
        self._chances: dict[SourceName, Chances] = {}  # of all sequences
        self._allowance = 0.0  # seconds
        self._untried_seconds: float | None = None  # what this step would take without a trial; None: there is none
        self._guess_seconds = 0.0  # of this step
        self._drafters: list[Drafter] = []  # of those asked

    def plan(self, decodes: list[tuple[Sequence, Chunk]], limit: int, others_wait: bool = False) -> None:
        """Give the chunks of a step without prompts at most `limit` draft tokens in all, and note what is `asked`.

        `others_wait`: prompts, for this step to end.
        """
        self.asked, self._drafters = [], []
        self._untried_seconds, self._guess_seconds = None, 0.0
        if not decodes or limit <= 0:
            return
        sources = [found for sequence, chunk in decodes if (found := self._sources(sequence, chunk, limit))]
        if not sources:
            return
        step = self._step_cost.curve(len(decodes), limit)
        passes = self._passes(len(decodes), step[0])
        best = self._best(len(decodes), sources, step, passes, others_wait)
        candidates, plan = self._trial(best, len(decodes), sources, step, passes)
        for candidate, length in zip(candidates, plan.lengths, strict=True):
            if length:
                self._draft(candidate, length)

    def guessed(self, guesses: list[list[int]], seconds: float) -> None:
        """What the draft model says to what was `asked`, and how long it took."""
        self._guess_seconds += seconds
        usual = True
        for (chunk, limit), drafter, tokens in zip(self.asked, self._drafters, guesses, strict=True):
            chunk.draft = tokens
            drafter.unanswered = 0 if tokens else drafter.unanswered + 1
            may_catch_up = drafter.unanswered * LEAST_CAUGHT_UP <= chunk.stop
            has_caught_up = drafter.guessed_to >= chunk.stop - CATCHES_UP or not (tokens or may_catch_up)
            usual = usual and has_caught_up
            gave_up = has_caught_up and len(tokens) < limit
            drafter.guesses["model"] = Guess(tokens, drafter.agreed, gave_up)
            if tokens or has_caught_up:  # else it may be catching up yet
                drafter.guessed_to = chunk.stop
        rounds = max(map(len, guesses))
        self.asked, self._drafters = [], []
        if rounds and usual:
            self._pass_cost.observe(len(guesses), seconds / rounds)

    def settle(self, sequence: Sequence, drawn: list[int]) -> None:
        """The model said these after all tokens of the sequence, which does not have them yet."""
        sequence.drafter.settle(len(sequence.tokens), drawn)

    def observe(self, batch: list[Chunk], seconds: float) -> None:
        """The batch was computed in so many seconds, those that the draft model took included."""
        if not batch:
            return
        computed = [chunk.stop - chunk.start for chunk in batch]
        rows = sum(computed) + sum([len(chunk.draft) for chunk in batch])
        if max(computed) > 1:
            self._step_cost.observe_prompt(rows, seconds)
            return
        if not self._step_cost.is_measured:
            self._allowance = FIRST_ALLOWED * seconds
        if self._untried_seconds is not None:
            self._allowance -= max(seconds - self._untried_seconds, 0.0)
        self._allowance = min(self._allowance + ALLOWANCE * seconds, MOST_ALLOWED * seconds)
        self._step_cost.observe(rows, seconds - self._guess_seconds, drafted=rows > len(batch))

    def _sources(self, sequence: Sequence, chunk: Chunk, limit: int) -> list[Candidate]:
        """What there is to check for one sequence."""
        room = min(limit, MAX_DRAFT, sequence.max_tokens - sequence.generated - 1)
        if room <= 0 or chunk.matcher is not None:  # a grammar looks at one token at a time
            return []
        drafter = sequence.drafter
        candidates = []
        for name, guess in drafter.look(sequence.tokens, sequence.generated).items():
            chances = self._chances_of(drafter, name).chain(guess.agreement, min(room, len(guess.tokens)))
            candidates.append(Candidate(sequence, chunk, name, Chain(chances)))
        if self._has_draft_model and not sequence.media:  # of which that model would know nothing
            chances = self._chances_of(drafter, "model").chain(drafter.agreed, room) or [0.0]  # else never tried again
            candidates.append(Candidate(sequence, chunk, "model", Chain(chances, modelled=True)))
        return [candidate for candidate in candidates if candidate.chain.chances]

    def _chances_of(self, drafter: Drafter, name: SourceName) -> Chances:
        """Those of a sequence. They begin as those of all."""
        if name not in drafter.chances:
            if name not in self._chances:
                self._chances[name] = shared_chances(name)
            drafter.chances[name] = own_chances(self._chances[name])
        return drafter.chances[name]

    def _best(
        self, streams: int, sources: list[list[Candidate]], step: list[float], passes: list[float], others_wait: bool
    ) -> tuple[list[Candidate], Plan]:
        """The best plan, each sequence with the source that is likelier to be right next; with and without the draft
        model, which costs something."""
        plans = []
        for modelled in (False, True) if self._has_draft_model else (False,):
            candidates = _likelier(sources, modelled)
            plan = best_plan(streams, [candidate.chain for candidate in candidates], step, passes, others_wait)
            plans.append((candidates, plan))
        return max(plans, key=lambda pair: pair[1].rate)

    def _trial(
        self,
        best: tuple[list[Candidate], Plan],
        streams: int,
        sources: list[list[Candidate]],
        step: list[float],
        passes: list[float],
    ) -> tuple[list[Candidate], Plan]:
        """What would pay more than the best plan if what is not known were as good as it can be, where the allowance
        covers it; else the best plan."""
        if any(length and one.source == "model" for one, length in zip(best[0], best[1].lengths, strict=True)):
            return best
        candidates = _likelier(sources, modelled=False)
        plan = self._untried_rows(best[1], streams, [candidate.chain for candidate in candidates], step)
        if not plan.drafted and not best[1].drafted and self._has_draft_model:
            candidates, plan = self._untried_model(streams, sources, step, passes)
        if not plan.drafted:
            return best
        self._untried_seconds = step[best[1].drafted]
        return candidates, plan

    def _untried_rows(self, best: Plan, streams: int, chains: list[Chain], step: list[float]) -> Plan:
        """More guesses than the best plan has, so many that it is not known what they cost, if they would pay if they
        cost as much as fewer."""
        known = best.drafted  # guesses
        likeliest_chance = max((chain.chances[0] for chain in chains), default=0.0)
        for count in TRIED:
            if count <= best.drafted:
                continue
            if count >= len(step) or step[count] - step[best.drafted] > self._allowance:
                break
            must_be = LEAST_GAIN * best.tokens / step[best.drafted] * step[known]  # tokens
            if self._step_cost.is_firm(streams + count):
                known = count
            elif streams + count * likeliest_chance > must_be:
                plan = likeliest(streams, chains, count)
                if plan.drafted == count and plan.tokens > must_be:
                    return plan
        return NO_PLAN

    def _untried_model(
        self, streams: int, sources: list[list[Candidate]], step: list[float], passes: list[float]
    ) -> tuple[list[Candidate], Plan]:
        """One guess of the draft model for the sequence that it has guessed for last, and soon another."""
        candidates = [candidate for found in sources for candidate in found if candidate.source == "model"]
        if not candidates or len(step) < 2:
            return [], NO_PLAN
        best = max(candidates, key=lambda candidate: candidate.sequence.drafter.guessed_to)
        is_usual = best.sequence.drafter.guessed_to >= best.chunk.stop - CATCHES_UP
        cost = step[1] - step[0] + passes[1]
        if cost * (1 if is_usual else 2) > self._allowance:
            return [], NO_PLAN
        hoped = step[1] if self._step_cost.is_firm(streams + 1) else step[0]
        one_pass = passes[1] if self._pass_cost.is_measured else LEAST_PASS * step[0]
        return [best], best_plan(streams, [Chain([TRIED_CHANCE], modelled=True)], [step[0], hoped], [0.0, one_pass])

    def _draft(self, candidate: Candidate, length: int) -> None:
        drafter = candidate.sequence.drafter
        drafter.checked = candidate.source
        if candidate.source == "model":
            self.asked.append((candidate.chunk, length))
            self._drafters.append(drafter)
        else:
            candidate.chunk.draft = drafter.guesses[candidate.source].tokens[:length]

    def _passes(self, sequences: int, step: float) -> list[float]:
        """Seconds of a pass of the draft model for no sequence, for one, and up to so many."""
        scale = 1.0 if self._pass_cost.is_measured else FIRST_PASS * step
        return [0.0] + [scale * seconds for seconds in self._pass_cost.curve(1, sequences - 1)]


def _likelier(sources: list[list[Candidate]], modelled: bool) -> list[Candidate]:
    """Of each sequence the source that is likelier to be right next. `modelled`: the draft model is one of them."""
    allowed = [[one for one in found if modelled or one.source != "model"] for found in sources]
    return [max(found, key=lambda one: one.chain.chances[0]) for found in allowed if found]
