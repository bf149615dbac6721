"""Merchandising: what the shop wants, put over the list of any engine.

The chain gives candidates that pass the filters, boosts move them, diversity and caps choose among them, pins take
their places last, so that no other rule can push them away.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rectory.params.rules import RulesParams
from rectory.serving.types import Answer, Engine, ItemFacts, Request, Rung, Shown, Why, WhyNot

_SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True)
class Rules:
    """One reading of the section `rules`, applied to answers."""

    params: RulesParams

    @property
    def idle(self) -> bool:
        """Nothing is asked for that the engine alone would not do, unless its list runs short."""
        set_ones = self.params.model_dump(exclude={"candidates", "chain", "editorial"}, exclude_defaults=True)
        return not set_ones and self.params.chain[0] == "personal"

    def recommend(self, engine: Engine, request: Request) -> Answer:
        """The engine's answer with all rules applied."""
        if self.idle:
            answer = engine.recommend(request)
            if len(answer.items) == request.n:
                return answer
        began = time.perf_counter()
        answer, candidates = self._candidates(engine, request)
        facts = dict(
            zip((one.item_id for one in candidates), engine.facts([c.item_id for c in candidates]), strict=True)
        )
        ordered = self._boosted(candidates, facts)
        wanted = request.offset + request.n
        chosen = self._with_pins(engine, request, self._chosen(ordered, facts, wanted), wanted)
        shown = tuple(chosen[request.offset : wanted])
        rung: Rung = next((one.rung for one in shown if one.rung != "pinned"), "pinned") if shown else answer.rung
        milliseconds = 1000 * (time.perf_counter() - began)
        return replace(answer, items=shown, rung=rung, milliseconds=milliseconds)

    def why(self, engine: Engine, request: Request, item_id: str) -> Why:
        """The engine's reasons and what the shop added; they add up to the score under the rules."""
        if item_id in {pin.item for pin in self.params.pins if _asks_for(request.where, pin.where)}:
            return Why(item_id, 0.0, (("the shop placed it here", 0.0),))
        told = engine.why(self._asked(request), item_id)
        if not self.params.boosts:
            return told
        _, candidates = self._candidates(engine, request)
        names = [one.item_id for one in candidates]
        facts = dict(zip(names, engine.facts(names), strict=True))
        moved = next((one.score for one in self._boosted(candidates, facts) if one.item_id == item_id), told.score)
        added = moved - told.score
        return Why(item_id, moved, (*told.reasons, ("the shop recommends it", added))) if added else told

    def why_not(self, engine: Engine, request: Request, item_id: str) -> WhyNot:
        """The engine's stages and those of the rules."""
        told = engine.why_not(self._asked(request), item_id)
        return WhyNot(item_id, (*told.stages, *self._stages(engine, request, item_id)))

    # Candidates.

    def _asked(self, request: Request) -> Request:
        return replace(request, where={**self.params.filters, **request.where})

    def _candidates(self, engine: Engine, request: Request) -> tuple[Answer, list[Shown]]:
        """The model's answer and all that may be shown, best first, each item once."""
        asked = self._asked(request)
        deep = max(self.params.candidates, request.offset + request.n)
        answer: Answer | None = None
        found: dict[str, Shown] = {}
        barred = set(request.exclude) | self._just_taken(engine, request)
        for rung in self.params.chain:
            given: tuple[Shown, ...]
            if rung == "personal":
                answer = engine.recommend(replace(asked, n=deep, offset=0))
                given = answer.items
            elif rung == "editorial":
                given = self._editorial(engine, asked)
            else:
                given = engine.popular(rung, deep, 0, asked.where).items
                barred |= self._consumed(engine, request)
            lowest = min((one.score for one in found.values()), default=0.0)
            top = max((one.score for one in given), default=0.0)
            for one in given:
                if one.item_id not in found and one.item_id not in barred:
                    # Each rung's scores are of a kind of their own: they go on below those of the rung before.
                    score = one.score if rung == "personal" else lowest - 1.0 - (top - one.score)
                    found[one.item_id] = replace(one, score=score)
            if len(found) >= request.offset + request.n:
                break
        if answer is None:
            answer = engine.recommend(replace(asked, n=1, offset=0))
        return answer, list(found.values())

    def _just_taken(self, engine: Engine, request: Request) -> set[str]:
        """What the cool-down keeps away."""
        days = self.params.cool_down_days
        if days is None or request.user_id is None:
            return set()
        now = time.time() if request.now is None else request.now
        taken = engine.last_taken(request.user_id)
        return {item for item, moment in taken.items() if moment > now - days * _SECONDS_PER_DAY}

    def _consumed(self, engine: Engine, request: Request) -> set[str]:
        """What lists that are the same for everybody must leave out where items are not taken again."""
        if engine.repeats:
            return set()
        session = {event.item_id for event in request.history}
        return session if request.user_id is None else session | set(engine.last_taken(request.user_id))

    def _editorial(self, engine: Engine, asked: Request) -> tuple[Shown, ...]:
        facts = engine.facts(list(self.params.editorial))
        fit = [one.item_id for one in facts if one.known and not one.hidden and passes(one, asked.where)]
        return tuple(Shown(item, -float(place), "editorial") for place, item in enumerate(fit))

    # Order.

    def _boosted(self, candidates: list[Shown], facts: Mapping[str, ItemFacts]) -> list[Shown]:
        if not self.params.boosts or not candidates:
            return candidates
        lowest = min(one.score for one in candidates)
        moved = []
        for one in candidates:
            factor = 1.0
            for boost in self.params.boosts:
                factor *= boost.factor if passes(facts[one.item_id], boost.where) else 1.0
            moved.append(replace(one, score=lowest + (one.score - lowest) * factor))
        return sorted(moved, key=lambda one: -one.score)

    def _chosen(self, ordered: list[Shown], facts: Mapping[str, ItemFacts], n: int) -> list[Shown]:
        """The best n that the caps allow, unlike ones preferred as far as `diversity` says."""
        counts: dict[str, Counter[str]] = {name: Counter() for name in self.params.caps}
        chosen: list[Shown] = []
        for one in self._unlike(ordered, facts) if self.params.diversity > 0 else iter(ordered):
            values = {name: facts[one.item_id].values(name) for name in self.params.caps}
            full = any(counts[name][value] >= self.params.caps[name] for name in values for value in values[name])
            if full:
                continue
            for name, texts in values.items():
                counts[name].update(texts)
            chosen.append(one)
            if len(chosen) == n:
                break
        return chosen

    def _unlike(self, ordered: list[Shown], facts: Mapping[str, ItemFacts]) -> Iterator[Shown]:
        """Maximal marginal relevance, one item after the other.

        Source: Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking", SIGIR 1998. Likeness is the cosine
        of the sets of declared feature values.
        """
        weight = self.params.diversity
        words = sorted({word for one in ordered for word in facts[one.item_id].words})
        column = {word: place for place, word in enumerate(words)}
        matrix = np.zeros((len(ordered), len(words)), dtype=np.float32)
        for row, one in enumerate(ordered):
            matrix[row, [column[word] for word in facts[one.item_id].words]] = 1.0
        matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)
        score = np.array([one.score for one in ordered])
        spread = float(score.max() - score.min()) if len(score) else 0.0
        relevance = (score - score.min()) / spread if spread > 0 else np.zeros(len(score))
        nearest = np.zeros(len(ordered))
        left = np.ones(len(ordered), dtype=bool)
        for _ in range(len(ordered)):
            gain = np.where(left, (1 - weight) * relevance - weight * nearest, -np.inf)
            best = int(np.argmax(gain))
            left[best] = False
            nearest = np.maximum(nearest, matrix @ matrix[best])
            yield ordered[best]

    def _with_pins(self, engine: Engine, request: Request, chosen: list[Shown], n: int) -> list[Shown]:
        pins = [pin for pin in self.params.pins if _asks_for(request.where, pin.where)]
        if not pins:
            return chosen
        where = self._asked(request).where
        known = dict(zip((pin.item for pin in pins), engine.facts([pin.item for pin in pins]), strict=True))
        fit = [
            pin
            for pin in pins
            if known[pin.item].known
            and not known[pin.item].hidden
            and pin.item not in request.exclude
            and passes(known[pin.item], where)
        ]
        rest = [one for one in chosen if one.item_id not in {pin.item for pin in fit}]
        best = max((one.score for one in chosen), default=0.0)
        for pin in sorted(fit, key=lambda pin: pin.place):
            rest.insert(pin.place - 1, Shown(pin.item, best, "pinned"))
        return rest[:n]

    def _stages(self, engine: Engine, request: Request, item_id: str) -> Iterator[tuple[str, bool, str]]:
        facts = engine.facts([item_id])[0]
        for name, wanted in self.params.filters.items():
            fit = passes(facts, {name: wanted})
            yield f"rule filter {name}", fit, f"{name} {'is' if fit else 'is not'} {wanted!r} (rules.filters)"
        if self.params.cool_down_days is not None:
            just = item_id in self._just_taken(engine, request)
            word = "within" if just else "not within"
            yield "cool-down", not just, f"taken {word} the last {self.params.cool_down_days:g} days"
        if not self.idle:
            shown = [one.item_id for one in self.recommend(engine, request).items]
            text = "in the list once the rules have been applied" if item_id in shown else "not in the list in the end"
            yield "after all rules", item_id in shown, text


def passes(facts: ItemFacts, where: Mapping[str, Any]) -> bool:
    """Whether an item has each of the wanted features; see `Request.where`."""
    return all(_has(facts.values(name), wanted) for name, wanted in where.items())


def _has(values: tuple[str, ...], wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        low, high = float(wanted.get("min", -np.inf)), float(wanted.get("max", np.inf))
        return any(low <= number <= high for number in map(_number, values) if number is not None)
    many = wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
    texts = {str(one) for one in many}
    return any(value in texts for value in values)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _asks_for(asked: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether a request asks for all that a pin is meant for."""
    return all(str(asked.get(name)) == str(value) for name, value in where.items())
