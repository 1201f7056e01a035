"""Questions that only the pixels answer: colours, icons, switches, tabs, counts and positions."""

import random

from r3pp_core.sample.plan import Block, Picture

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
_MARKS = {"bar": "bar", "hbar": "bar", "pie": "slice"}
_THINGS = {"product": "products", "place": "places", "shop": "shops", "app": "apps", "town": "towns"}


def questions_about_looks(rng: random.Random, picture: Picture) -> list[Ask]:
    """Texts with their accepted answers, several for each kind of picture."""
    if picture.kind == "chart":
        return _about_chart(rng, picture)
    found = [ask for block in picture.blocks for ask in _about_icons(rng, block)]
    if picture.kind == "screen":
        return found + _about_screen(rng, picture)
    return [*found, ("What color is the header?", (picture.colour,))]


def _about_icons(rng: random.Random, block: Block) -> list[Ask]:
    """Shape and color of the icons: they stand beside the things of a list, or beside the labels of a detail."""
    if block.rule.pattern == "list":
        subjects = {row.fact.entity.name: row for row in block.rows}
    else:
        subjects = {row.fact.attribute.label: row for row in block.rows}
    if not subjects:
        return []
    shape, colour = rng.choice(sorted(subjects)), rng.choice(sorted(subjects))
    return [
        (f"What is the shape of the icon next to {shape}?", (subjects[shape].icon,)),
        (f"What is the color of the icon next to {colour}?", (subjects[colour].colour,)),
    ]


def _about_screen(rng: random.Random, picture: Picture) -> list[Ask]:
    found: list[Ask] = [
        ("What color is the top bar of the app?", (picture.colour,)),
        ("Which tab is selected?", (TABS[picture.layout][picture.tab],)),
    ]
    if picture.layout == "settings":
        for name, is_on in picture.switches:
            found.append((f"Is {name} turned on?", ("Yes" if is_on else "No",)))
        num_on = sum(is_on for _, is_on in picture.switches)
        found.append(("How many switches are turned on?", (str(num_on),)))
    elif picture.blocks[0].rule.pattern == "list":
        things = _THINGS[picture.blocks[0].rule.category]
        found.append((f"How many {things} are listed?", (str(len(picture.blocks[0].entities)),)))
    return found


def _about_chart(rng: random.Random, picture: Picture) -> list[Ask]:
    block = picture.blocks[0]
    if not block.rows:
        return []
    if picture.layout == "line":
        return [
            ("What is the color of the line?", (block.rows[0].colour,)),
            ("How many points does the line have?", (str(len(block.rows)),)),
            ("Which is the last month shown?", (block.rows[-1].fact.attribute.label.split()[-1],)),
        ]
    if picture.layout == "grouped":
        months = list(dict.fromkeys(row.fact.attribute.label.split()[-1] for row in block.rows))
        colours = [row.colour for row in block.rows[: len(months)]]
        i = rng.randrange(len(months))
        return [
            (f"Which color shows {months[i]}?", (colours[i],)),
            (f"Which month is shown in {colours[i]}?", (months[i],)),
            ("How many groups of bars are there?", (str(len(block.entities)),)),
            ("How many bars are there in total?", (str(len(block.rows)),)),
        ]
    mark = _MARKS[picture.layout]
    row = rng.choice(block.rows)
    found: list[Ask] = [
        (f"How many {mark}s does the chart have?", (str(len(block.rows)),)),
        (f"What is the color of the {mark} of {row.fact.entity.name}?", (row.colour,)),
    ]
    if sum(other.colour == row.colour for other in block.rows) == 1:
        found.append((f"What does the {row.colour} {mark} stand for?", (row.fact.entity.name,)))
    if picture.layout == "bar":
        found.append(("Which bar is the first from the left?", (block.rows[0].fact.entity.name,)))
    if picture.layout == "hbar":
        found.append(("Which bar is at the bottom?", (block.rows[-1].fact.entity.name,)))
    return found
