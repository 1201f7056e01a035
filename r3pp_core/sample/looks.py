"""Questions that only the pixels answer: colours, icons, switches, tabs, counts, heights and positions.

They name things by their place ("the third bar"), so that nothing has to be read to answer them.
"""

import random

from r3pp_core.sample.plan import Block, Picture, Row

Ask = tuple[str, tuple[str, ...]]

TABS: dict[str, tuple[str, str, str]] = {
    "store": ("Shop", "Search", "Account"),
    "product": ("Shop", "Search", "Account"),
    "cart": ("Shop", "Cart", "Account"),
    "explore": ("Map", "Saved", "Profile"),
    "place": ("Map", "Saved", "Profile"),
    "settings": ("General", "Privacy", "About"),
    "appstore": ("Today", "Apps", "Updates"),
    "dashboard": ("Home", "Orders", "Team"),
    "delivery": ("Nearby", "Orders", "Help"),
    "weather": ("Today", "Week", "Radar"),
}
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")
TOP_BAR, HEADER = "What color is the top bar of the app?", "What color is the header?"
_THINGS = {"product": "products", "place": "places", "shop": "shops", "app": "apps", "town": "towns"}


def questions_about_looks(rng: random.Random, picture: Picture) -> list[Ask]:
    """Texts with their accepted answers, several for each kind of picture."""
    if not all(block.rows for block in picture.blocks):
        return []
    if picture.kind == "chart":
        return _ABOUT_CHART[picture.layout](rng, picture.blocks[0])
    found = _about_icons(rng, icon_order(picture))
    if picture.kind == "screen":
        return found + _about_screen(picture)
    return [*found, (HEADER, (picture.colour,))]


def icon_order(picture: Picture) -> list[Row]:
    """The rows whose icons the first block shows, from the top; of a list one a thing."""
    block = picture.blocks[0]
    if block.rule.pattern == "detail":
        return list(block.rows)
    firsts = [block.rows_of(entity)[0] for entity in block.entities]
    if picture.layout == "ranking":
        firsts.sort(key=lambda row: -row.fact.number)
    return firsts


def _about_icons(rng: random.Random, rows: list[Row]) -> list[Ask]:
    shape, colour = rng.randrange(len(rows)), rng.randrange(len(rows))
    return [
        (f"What is the shape of the {ORDINALS[shape]} icon?", (rows[shape].icon,)),
        (f"What is the color of the {ORDINALS[colour]} icon?", (rows[colour].colour,)),
    ]


def _about_screen(picture: Picture) -> list[Ask]:
    found: list[Ask] = [
        (TOP_BAR, (picture.colour,)),
        ("Is the first, second or third tab selected?", (ORDINALS[picture.tab],)),
    ]
    if picture.layout == "settings":
        for i, (_, is_on) in enumerate(picture.switches):
            found.append((f"Is the {ORDINALS[i]} switch turned on?", ("Yes" if is_on else "No",)))
        num_on = sum(is_on for _, is_on in picture.switches)
        found.append(("How many switches are turned on?", (str(num_on),)))
    elif picture.blocks[0].rule.pattern == "list":
        things = _THINGS[picture.blocks[0].rule.category]
        found.append((f"How many {things} are listed?", (str(len(picture.blocks[0].entities)),)))
    return found


def _about_bars(rng: random.Random, block: Block, side: str, longest: str) -> list[Ask]:
    i = rng.randrange(len(block.rows))
    found: list[Ask] = [
        ("How many bars does the chart have?", (str(len(block.rows)),)),
        (f"What is the color of the {ORDINALS[i]} bar from the {side}?", (block.rows[i].colour,)),
    ]
    if best := only_largest(block.rows):
        found.append((f"Which bar from the {side} is the {longest}?", (ORDINALS[block.rows.index(best)],)))
        found.append((f"What is the color of the {longest} bar?", (best.colour,)))
    if len(block.rows) > 1:
        a, b = rng.sample(range(len(block.rows)), 2)
        if block.rows[a].fact.number != block.rows[b].fact.number:
            text = f"Is the {ORDINALS[a]} bar from the {side} longer than the {ORDINALS[b]} one?"
            found.append((text, ("Yes" if block.rows[a].fact.number > block.rows[b].fact.number else "No",)))
    return found


def only_largest(rows: tuple[Row, ...]) -> Row | None:
    """The row with the largest number, if it is clear to the eye."""
    first, *rest = sorted(rows, key=lambda row: -row.fact.number)
    return first if not rest or first.fact.number >= 1.05 * rest[0].fact.number else None


def _about_slices(rng: random.Random, block: Block) -> list[Ask]:
    found: list[Ask] = [("How many slices does the chart have?", (str(len(block.rows)),))]
    if best := only_largest(block.rows):
        found.append(("What is the color of the largest slice?", (best.colour,)))
    return found


def _about_line(rng: random.Random, block: Block) -> list[Ask]:
    found: list[Ask] = [
        ("What is the color of the line?", (block.rows[0].colour,)),
        ("How many points does the line have?", (str(len(block.rows)),)),
    ]
    if best := only_largest(block.rows):
        found.append(("Which point of the line is the highest?", (ORDINALS[block.rows.index(best)],)))
    if block.rows[0].fact.number != block.rows[-1].fact.number:
        rises = block.rows[-1].fact.number > block.rows[0].fact.number
        found.append(("Does the line end higher than it starts?", ("Yes" if rises else "No",)))
    return found


def _about_groups(rng: random.Random, block: Block) -> list[Ask]:
    colours = list(dict.fromkeys(row.colour for row in block.rows))
    return [
        ("How many groups of bars are there?", (str(len(block.entities)),)),
        ("How many bars are there in total?", (str(len(block.rows)),)),
        ("What is the color of the upper bar of each group?", (colours[0],)),
        ("What is the color of the lower bar of each group?", (colours[-1],)),
    ]


_ABOUT_CHART = {
    "bar": lambda rng, block: _about_bars(rng, block, "left", "tallest"),
    "hbar": lambda rng, block: _about_bars(rng, block, "top", "longest"),
    "grouped": _about_groups,
    "pie": _about_slices,
    "line": _about_line,
}
