"""The seven tests that every candidate is put to. docs/behaviour.md says what each asks and where its limit comes from.

Limits are not chosen by hand: each is half way between what a sound model and what a meaningless one would show on this
very log, both measured. Where the measurement is an estimate over users, a test fails when the whole 95% interval lies
on the wrong side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array, diags_array

from rectory.arrays import Array, BoolArray, Float64Array, Int32Array
from rectory.evaluation.behaviour import (
    Context,
    Finding,
    K,
    NotApplicable,
    behavioural_test,
    difference,
    estimate,
    overlap,
)
from rectory.evaluation.behaviour_log import doubled
from rectory.evaluation.holdout import ranked_lists
from rectory.models.protocol import NO_ITEM, Recommender, TopK

_TWINS = 5
_LEAST_PLACES = 20
_LEAST_USERS = 30
_DEPTH = 50
_ROUNDING = 1e-4
"""Relative difference that a score may have when the same numbers are added up in another order, in float32."""
_EXACT_SHARE = 0.9
"""Of a fit without luck. Which of two equal neighbours is kept may go by code, and that may cost a place in ten."""
_ASKED_USERS = 300
_ASKED_ITEMS = 300
_LEAST_INTERACTIONS = 5
_PERMUTATIONS = 200
_NEAR_MISS_USERS = 500
_DRAWS = 5
_WORTH_SINKING = 0.01
"""Share of the catalogue; where the interval reaches it, a sinking that is not shown is no failure that is."""
_WORTH = 0.1
"""Share of the nearness of what users took to itself that misses should have."""
_NEIGHBOURS = 25
"""Ranks up to which items count as equally popular."""


@behavioural_test("duplicate_beside_original", needs="users")
def duplicate_beside_original(context: Context) -> Finding:
    """A copy of a popular item, with its interactions and features, ranks beside it."""
    sample, users = context.sample, context.users
    originals = _popular_and_shown(context)
    twins = doubled(sample, originals)
    exclude = None if sample.repeats else twins.counts()[users]
    lists = context.refit(twins).recommend(users, 2 * K, exclude=exclude).items
    again = context.lists(context.reseeded, users, 2 * K).items
    beside, stays = np.zeros(0), np.zeros(0)
    for place, original in enumerate(originals):
        shown = (lists[:, :K] == original).any(axis=1)
        beside = np.append(beside, (lists[shown] == sample.n_items + place).any(axis=1))
        before = (context.base_lists.items == original).any(axis=1)
        stays = np.append(stays, (again[before] == original).any(axis=1))
    if min(len(beside), len(stays)) < _LEAST_PLACES:
        raise NotApplicable(f"popular items stand in only {len(beside)} lists, {_LEAST_PLACES} are needed")
    found, luck = estimate(beside), float(stays.mean())
    limit = _half_way(luck, 2 * K, sample.n_items)
    text = (
        f"where one of {len(originals)} popular items stands in the first {K}, its copy stands in the first {2 * K}: "
        f"{found}; the item itself does after a fit with another seed: {luck:.2f}, half of it is asked: {limit:.2f}"
    )
    return Finding(found.high >= limit, text, found.value, limit)


@behavioural_test("interest_moves_list", needs=("users", "personal"))
def interest_moves_list(context: Context) -> Finding:
    """Without a user's strongest interest the list is another one."""
    change, model = context.changed
    sunk = [
        _place_of_interest(context, model, users) - _place_of_interest(context, context.base, users)
        for users in (change.bereft[:_ASKED_USERS], change.spared[:_ASKED_USERS])
    ]
    found = difference(*sunk)
    moved = 1.0 - _kept(context, model, change.bereft).mean()
    text = (
        f"without their strongest interest ({change.share:.0%} of their interactions) its items sink by "
        f"{sunk[0].mean():.1%} of the catalogue, other users' by {sunk[1].mean():.1%}: difference "
        f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}], must lie above 0; {moved:.0%} of the first {K} are new"
    )
    if found.low <= 0 and found.high >= _WORTH_SINKING:
        raise NotApplicable(f"too few users to tell; {text}")
    return Finding(found.low > 0, text, found.value, 0.0)


@behavioural_test("codes_mean_nothing", needs="users")
def codes_mean_nothing(context: Context) -> Finding:
    """The same log under shuffled codes of users and items gives the same lists."""
    other, model = context.shuffled
    users = other.user[context.users]
    exclude = None if context.sample.repeats else other.train.counts()[users]
    top = model.recommend(users, _DEPTH, exclude=exclude)
    back = np.append(np.argsort(other.item), NO_ITEM).astype(np.int32)  # NO_ITEM finds the last entry
    lists = TopK(back[top.items], top.scores)
    if context.deterministic:
        same = estimate(_same_places(context.base_lists, lists))
        text = f"{same.value:.1%} of the items stay in their lists but for ties, {_EXACT_SHARE:.0%} are asked"
        return Finding(same.value >= _EXACT_SHARE, text, same.value, _EXACT_SHARE)
    shares = overlap(context.base_lists.items, lists.items[:, :K])
    found, noise = estimate(shares[~np.isnan(shares)]), _noise(context, context.users)
    limit = _half_way(noise, K, context.sample.n_items)
    text = (
        f"lists of {K} share {found} with those before the shuffle; another seed leaves {noise:.2f}, half of it is "
        f"asked: {limit:.2f} (a seed meets other rows here, so that lists cannot be equal)"
    )
    return Finding(found.high >= limit, text, found.value, limit)


@behavioural_test("small_change_small_effect", needs="users")
def small_change_small_effect(context: Context) -> Finding:
    """Without 2% of a user's history the list stays much the same."""
    change, model = context.changed
    found, noise = estimate(_kept(context, model, change.nudged)), _noise(context, change.nudged)
    limit = _half_way(noise, K, context.sample.n_items)
    text = (
        f"without 2% of their interactions users keep {found} of their first {K}; another seed leaves {noise:.2f}, "
        f"half of it is asked: {limit:.2f}"
    )
    return Finding(found.high >= limit, text, found.value, limit)


@behavioural_test("departed_items_stay_out")
def departed_items_stay_out(context: Context) -> Finding:
    """What has left the catalogue is in no list; nor would be what is told most today, had it left."""
    bundle, n_items = context.bundle, len(context.bundle.items)
    users = np.append(bundle.users.encode(context.window.users[:_ASKED_USERS]), np.int32(-1)).astype(np.int32)
    lists = bundle.recommend_codes(users, K).items
    there = np.ones(n_items, dtype=bool) if bundle.available is None else bundle.available
    shown = np.bincount(lists[lists != NO_ITEM], minlength=n_items)
    most = np.argsort(-shown, kind="stable")[:K].astype(np.int32)
    left = there.copy()
    left[most] = False
    later = replace(bundle, available=left)
    offered = [
        _departed(lists, there),
        _departed(bundle.similar_codes(most, K).items, there),
        _departed(later.recommend_codes(users, K).items, left),
        _departed(later.similar_codes(most, K).items, left),
    ]
    gone = (
        "the card names no column `items.available`" if bundle.available is None else f"{int((~there).sum())} have left"
    )
    text = (
        f"{offered[0]} places in {len(users)} lists and {offered[1]} similar items are of the departed ({gone}); had "
        f"the {K} that are told most left, {offered[2]} and {offered[3]} would be"
    )
    return Finding(sum(offered) == 0, text, float(sum(offered)), 0.0)


@behavioural_test("similar_share_features", needs="item_features")
def similar_share_features(context: Context) -> Finding:
    """Items that the model calls similar share declared features more often than chance."""
    train, draw = context.train, np.random.default_rng(context.seed)
    unit = _unit_features(train.item_features.matrix)
    known = np.diff(unit.indptr) > 0
    often = np.bincount(train.item, minlength=train.n_items) >= _LEAST_INTERACTIONS
    asked = np.flatnonzero(known & often).astype(np.int32)
    if len(asked) < _LEAST_USERS:
        raise NotApplicable(f"only {len(asked)} items have features and {_LEAST_INTERACTIONS} interactions or more")
    asked = np.sort(draw.choice(asked, min(_ASKED_ITEMS, len(asked)), replace=False))
    lists = context.bundle.model.similar(asked, K).items
    if _all_alike(lists, asked):
        raise NotApplicable("the model knows no likeness: every item has the same list")
    log = _against_shuffled(unit, asked, _taken_together(context, asked), draw)
    if log.value <= log.limit:
        raise NotApplicable(
            f"in the log itself, items taken by one user share no more features than others ({log.value:.3f}, chance "
            f"up to {log.limit:.3f}): the declared features have nothing to do with taste here"
        )
    found = _against_shuffled(unit, asked, lists, draw)
    text = (
        f"{len(asked)} items and their {K} similar ones: cosine of declared features {found.value:.3f}; if likeness "
        f"had nothing to do with them, up to {found.limit:.3f} (97.5% of {_PERMUTATIONS} shuffles)"
    )
    return Finding(found.value > found.limit, text, found.value, found.limit)


@behavioural_test("near_misses_are_near", needs=("item_features", "personal"))
def near_misses_are_near(context: Context) -> Finding:
    """What is told and wrong is more like what the user then took than chance would have it.

    Chance is what others are told and wrong, and random items of equal popularity. To be nearer than one of them is
    enough, since each has a blind spot: a list may be right about what everybody turns to, or about the user alone.
    Only what an unknown user is not told counts: the rest of a list says nothing about the user.
    """
    window, unit = context.window, _unit_features(context.window.features)
    rows = np.flatnonzero((np.diff(window.consumed.indptr) > 0) & (context.bundle.users.encode(window.users) >= 0))
    rows = np.random.default_rng(context.seed).permutation(rows)[:_NEAR_MISS_USERS]
    if len(rows) < _LEAST_USERS:
        raise NotApplicable(f"only {len(rows)} users of the test window have a history, {_LEAST_USERS} are needed")
    part = replace(window, users=window.users[rows], relevant=window.relevant[rows], consumed=window.consumed[rows])
    relevant = part.relevant.astype(np.float32)
    misses, hits = _misses(context, ranked_lists(context.bundle, part, K), relevant), relevant.tocoo().coords
    draw = np.random.default_rng(context.seed)
    ideal = _closeness(unit, relevant, hits, _others(hits[1], draw), own=True)
    against = {
        "what others are told and wrong": _closeness(unit, relevant, misses, _others(misses[1], draw)),
        "items of equal popularity": _closeness(
            unit, relevant, misses, _equals(misses[1], window.users_with_item, draw)
        ),
    }
    n = min(len(ideal), *map(len, against.values()))
    if n < _LEAST_USERS:
        raise NotApplicable(f"only {n} users have personal misses and features to compare, {_LEAST_USERS} are needed")
    best, found = estimate(ideal), {name: estimate(values) for name, values in against.items()}
    if best.low <= 0:
        raise NotApplicable(f"what users take is no more alike in declared features than what others take: {best}")
    nearest = max(found.values(), key=lambda one: one.low)
    shown = ", ".join(f"than {name} {one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}]" for name, one in found.items())
    text = (
        f"misses of {n} users are nearer to what they took (cosine of declared features) {shown}: one must lie above "
        f"0; what they took is nearer to itself by {best.value:+.3f}"
    )
    # A failure has to be shown, not only a gain missed: the interval stays below what would be worth having.
    if nearest.low <= 0 and max(one.high for one in found.values()) >= _WORTH * best.value:
        raise NotApplicable(f"too few users to tell; {text}")
    return Finding(nearest.low > 0, text, nearest.value, 0.0)


@dataclass(frozen=True)
class _Shuffled:
    value: float
    limit: float


def _place_of_interest(context: Context, model: Recommender, users: Int32Array) -> Float64Array:
    """(n,) mean place of the items of each user's strongest interest, as a share of the catalogue."""
    sample, (change, _) = context.sample, context.changed
    lists = model.recommend(users, sample.n_items).items
    place = np.full((len(users), sample.n_items + 1), 1.0)  # what is in no list is last; the last column is NO_ITEM's
    np.put_along_axis(place, lists, np.arange(lists.shape[1])[None, :] / sample.n_items, axis=1)
    rows = change.interest & np.isin(sample.user, users)
    pairs = np.unique(sample.user[rows].astype(np.int64) * sample.n_items + sample.item[rows])
    row = np.argsort(users)[np.searchsorted(np.sort(users), pairs // sample.n_items)]
    total = np.bincount(row, weights=place[row, pairs % sample.n_items], minlength=len(users))
    return np.asarray(total / np.bincount(row, minlength=len(users)))


def _noise(context: Context, users: Int32Array) -> float:
    """Mean share of the first K that stays where only the seed is another one."""
    return float(_kept(context, context.reseeded, users).mean())


def _half_way(luck: float, places: int, n_items: int) -> float:
    """Between what stays where only the seed is another one, and what so many places would hold at random."""
    return (luck + min(1.0, places / n_items)) / 2


def _kept(context: Context, model: Recommender, users: Int32Array) -> Float64Array:
    """(n,) share of each user's base list that stands in the list by `model`; users without a list are left out."""
    shares = overlap(context.lists(context.base, users).items, context.lists(model, users).items)
    return np.asarray(shares[~np.isnan(shares)])


def _popular_and_shown(context: Context) -> Int32Array:
    """Of the fifth of the items that is taken most, those that stand in most lists."""
    sample, lists = context.sample, context.base_lists.items
    taken = np.bincount(sample.item, minlength=sample.n_items)
    popular = np.argsort(-taken, kind="stable")[: max(_TWINS, sample.n_items // 5)]
    shown = np.bincount(lists[lists != NO_ITEM], minlength=sample.n_items)[popular]
    chosen = popular[np.argsort(-shown, kind="stable")][:_TWINS]
    return np.asarray(chosen, dtype=np.int32)


def _same_places(before: TopK, after: TopK) -> Float64Array:
    """(n,) share of the places of each list of `before` that hold the same in `after`.

    The same: the item stands in the list of the same length; or it has the same score and fell off the end among items
    of that score.
    """

    def close(one: Array, other: Array) -> BoolArray:
        return np.asarray(np.isclose(one, other, rtol=_ROUNDING, atol=1e-6) | (one == other))

    found = before.items[:, :, None] == after.items[:, None, :]
    score = np.where(
        found.any(axis=2), np.take_along_axis(after.scores, found.argmax(axis=2), axis=1), after.scores[:, -1:]
    )
    real = before.items != NO_ITEM
    listed = found[:, :, : before.items.shape[1]].any(axis=2)
    same = (listed | close(before.scores, score)) & real
    shares = same.sum(axis=1) / np.maximum(real.sum(axis=1), 1)
    return np.asarray(shares[real.any(axis=1)])


def _departed(lists: Int32Array, there: BoolArray) -> int:
    return int((~there[lists[lists != NO_ITEM]]).sum())


def _unit_features(matrix: csr_array) -> csr_array:
    """Rows of length 1 (or 0); a value counts the more, the fewer items have it."""
    n_items, n_values = matrix.shape
    having = np.bincount(matrix.indices, minlength=n_values)
    weighed = csr_array(matrix @ diags_array(np.log1p(n_items / np.maximum(having, 1))))
    length = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
    return csr_array(diags_array(1.0 / np.where(length > 0, length, 1.0)) @ weighed)


def _all_alike(lists: Int32Array, asked: Int32Array) -> bool:
    """Whether the lists differ by nothing but each item's own absence from its list."""
    common = np.unique(lists[lists != NO_ITEM])
    return len(common) <= lists.shape[1] + 1 and len(asked) > len(common)


def _taken_together(context: Context, asked: Int32Array) -> Int32Array:
    """(n, K) items that a taker of each of `asked` took too, at random."""
    train, draw = context.train, np.random.default_rng(context.seed)
    lists = np.full((len(asked), K), NO_ITEM, dtype=np.int32)
    rows = np.bincount(train.user, minlength=train.n_users)
    by_user, ends = train.item[np.argsort(train.user, kind="stable")], np.cumsum(rows)
    asked_rows = np.flatnonzero(np.isin(train.item, asked))
    asked_rows = asked_rows[np.argsort(train.item[asked_rows], kind="stable")]
    cuts = np.searchsorted(train.item[asked_rows], asked, side="right")
    for place, own in enumerate(np.split(train.user[asked_rows], cuts[:-1])):
        takers = draw.choice(own, K)
        lists[place] = by_user[draw.integers(ends[takers] - rows[takers], ends[takers])]
    lists[lists == asked[:, None]] = NO_ITEM
    return lists


def _against_shuffled(unit: csr_array, asked: Int32Array, lists: Int32Array, draw: np.random.Generator) -> _Shuffled:
    """Mean cosine of items and their lists, and what 97.5% of shuffles of the lists stay below."""
    real = lists != NO_ITEM
    place, _ = np.nonzero(real)
    share = csr_array((1.0 / np.maximum(real.sum(axis=1), 1)[place], (place, lists[real])), (len(lists), unit.shape[0]))
    alike = (unit[asked] @ (share @ unit).T).toarray()
    shuffles = [alike[np.arange(len(asked)), draw.permutation(len(asked))].mean() for _ in range(_PERMUTATIONS)]
    return _Shuffled(float(alike.diagonal().mean()), float(np.quantile(shuffles, 0.975)))


def _misses(context: Context, lists: Int32Array, relevant: csr_array) -> tuple[Array, Array]:
    """Row and item of each place that holds no relevant item and that an unknown user would not be told."""
    window = context.window
    unknown = context.bundle.recommend_codes(np.array([-1], dtype=np.int32), K).items[0]
    known_to_all = window.items.encode(context.bundle.items.decode(unknown[unknown != NO_ITEM]))
    row, place = np.nonzero(lists != NO_ITEM)
    item = lists[row, place]
    wrong = np.asarray(relevant[row, item]).ravel() == 0
    wrong &= ~np.isin(item, known_to_all)
    return row[wrong], item[wrong]


def _others(items: Array, draw: np.random.Generator) -> Array:
    """(_DRAWS, n) of these items, which are other users' for the most part."""
    return np.asarray(items[draw.integers(0, max(len(items), 1), (_DRAWS, len(items)))])


def _equals(items: Array, popularity: Array, draw: np.random.Generator) -> Array:
    """(_DRAWS, n) items of a neighbouring rank in popularity."""
    order = np.argsort(-popularity, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    step = draw.integers(1, _NEIGHBOURS + 1, (_DRAWS, len(items))) * draw.choice([-1, 1], (_DRAWS, len(items)))
    place = rank[items] + step
    # The most popular item has no neighbour above it: what would fall off an end goes to the other side.
    return np.asarray(order[np.where((place < 0) | (place >= len(order)), rank[items] - step, place) % len(order)])


def _closeness(
    unit: csr_array, relevant: csr_array, told: tuple[Array, Array], drawn: Array, *, own: bool = False
) -> Float64Array:
    """(n,) how much nearer each user's told items are to its relevant ones than drawn ones are, in mean cosine.

    Args:
        unit: (n_items, n_values) rows of length 1 or 0.
        told: (m,) row and item of each pair that is looked at.
        drawn: (draws, m) items to compare with; those that are relevant to the user are passed over.
        own: told items are relevant ones; each is held against the user's others.
    """
    row, item = told
    items, place = np.unique(np.vstack([item[None, :], drawn]), return_inverse=True)
    place = place.reshape(len(drawn) + 1, len(item))
    alike = ((relevant @ unit) @ unit[items].T).toarray()  # (n_users, n_distinct): sums over the relevant items
    wanted = relevant[:, items].toarray() > 0
    described = np.diff(unit.indptr)[items] > 0
    count = np.diff(relevant.indptr)[row]
    itself = described[place[0]] & wanted[row, place[0]] & own
    nearer = (alike[row, place[0]] - itself) / np.maximum(count - own, 1)
    fair = alike[row, place[1:]] / np.maximum(count, 1)
    usable = ~wanted[row, place[1:]]
    compared = usable.any(axis=0) & described[place[0]] & (count > own)
    mean = (fair * usable).sum(axis=0) / np.maximum(usable.sum(axis=0), 1)
    users, of_user = np.unique(row[compared], return_inverse=True)
    gaps = np.bincount(of_user, weights=(nearer - mean)[compared], minlength=len(users))
    return np.asarray(gaps / np.bincount(of_user, minlength=len(users)))
