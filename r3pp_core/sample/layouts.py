"""Which kinds of picture exist, and what facts each of them can show.

A block shows facts in one of two patterns: `list` (a few attributes of several things of one category) or `detail`
(several attributes of one thing). A layout is a named drawing with its blocks; where it can show different
things it has several variants.
"""

from dataclasses import dataclass

from r3pp_core.sample.attributes import CATEGORIES, MONTH_KEYS, attributes_of

KINDS = ("screen", "chart", "infographic")


@dataclass(frozen=True)
class BlockRule:
    """`size` bounds the number of things (list) or of facts (detail); a detail picks among `keys`."""

    pattern: str
    category: str
    keys: tuple[str, ...]
    size: tuple[int, int]


Variant = tuple[BlockRule, ...]


@dataclass(frozen=True)
class Layout:
    kind: str
    name: str
    variants: tuple[Variant, ...]


def _keys(category: str, numeric: bool = False) -> tuple[str, ...]:
    return tuple(a.key for a in attributes_of(category) if a.numeric or not numeric)


def _lists(category: str, key_sets: tuple[tuple[str, ...], ...], size: tuple[int, int]) -> tuple[Variant, ...]:
    return tuple((BlockRule("list", category, keys, size),) for keys in key_sets)


def _detail(category: str, size: tuple[int, int], keys: tuple[str, ...] = ()) -> BlockRule:
    return BlockRule("detail", category, keys or _keys(category), size)


def _rankings(units: tuple[str, ...], size: tuple[int, int]) -> tuple[Variant, ...]:
    """One-attribute lists over every numeric attribute whose unit is in `units` (all when empty)."""
    return tuple(
        (BlockRule("list", attribute.category, (attribute.key,), size),)
        for category in CATEGORIES
        for attribute in attributes_of(category)
        if attribute.numeric and (not units or attribute.unit in units)
    )


_MONTH_PAIRS = tuple((a, b) for i, a in enumerate(MONTH_KEYS) for b in MONTH_KEYS[i + 1 : i + 3])

_SCREENS = (
    Layout(
        "screen", "store", _lists("product", (("price", "rating"), ("price", "stock"), ("price", "material")), (4, 4))
    ),
    Layout("screen", "product", ((_detail("product", (5, 6)),),)),
    Layout("screen", "cart", _lists("product", (("price",),), (4, 5))),
    Layout(
        "screen", "explore", _lists("place", (("opens", "ticket"), ("closes", "rating"), ("ticket", "closed")), (3, 4))
    ),
    Layout("screen", "place", ((_detail("place", (5, 6)),),)),
    Layout("screen", "settings", ((_detail("app", (4, 5)),),)),
    Layout(
        "screen", "appstore", _lists("app", (("rating", "size"), ("downloads", "plan"), ("size", "active")), (4, 4))
    ),
    Layout("screen", "dashboard", ((_detail("shop", (6, 6)),),)),
    Layout("screen", "delivery", _lists("shop", (("delivery", "rating"), ("delivery", "opens")), (4, 4))),
    Layout("screen", "weather", _lists("town", (("temp", "rain"), ("temp", "sky"), ("temp", "wind")), (4, 4))),
)

_CHARTS = (
    Layout("chart", "bar", _rankings((), (5, 6))),
    Layout("chart", "hbar", _rankings((), (5, 7))),
    Layout("chart", "grouped", tuple(v for c in ("place", "shop") for v in _lists(c, _MONTH_PAIRS, (4, 4)))),
    Layout("chart", "pie", _rankings(("count", "thousands"), (4, 5))),
    Layout("chart", "line", tuple((_detail(c, (4, 5), MONTH_KEYS),) for c in ("place", "shop"))),
)

_INFOGRAPHICS = (
    Layout(
        "infographic",
        "ranking",
        tuple(
            (ranking[0], _detail(category, (3, 3), _keys(category, numeric=True)))
            for ranking in _rankings((), (4, 5))
            for category in CATEGORIES
            if category != ranking[0].category
        ),
    ),
    Layout("infographic", "portrait", tuple((_detail(c, (6, 7)),) for c in ("product", "place", "shop", "app"))),
    Layout(
        "infographic",
        "versus",
        tuple(
            variant
            for category in CATEGORIES
            for start in range(len(_keys(category)) - 3)
            for variant in _lists(category, (_keys(category)[start : start + 4],), (2, 2))
        ),
    ),
    Layout(
        "infographic",
        "shares",
        tuple(
            (shares[0], BlockRule("list", other[0].category, other[0].keys, (3, 3)))
            for shares in _rankings(("percent",), (4, 4))
            for other in _rankings(("count", "thousands", "money"), (3, 3))
            if other[0].category != shares[0].category
        ),
    ),
)

LAYOUTS: dict[str, tuple[Layout, ...]] = {"screen": _SCREENS, "chart": _CHARTS, "infographic": _INFOGRAPHICS}
