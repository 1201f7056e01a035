"""What can be said about a thing of the world: attributes, their units and the phrases that ask for them.

`UNITS` says how a value is shown and which answers are accepted; `ATTRIBUTES` is the vocabulary by category.
"""

from dataclasses import dataclass

MONTHS = ("January", "February", "March", "April", "May")
MONTH_KEYS = tuple(month[:3].lower() for month in MONTHS)
CATEGORIES = ("product", "place", "shop", "app", "town")


@dataclass(frozen=True)
class Unit:
    """`shown` formats a number as a picture shows it; `accepted` are further ways to say it; `axis` names it."""

    shown: str
    accepted: tuple[str, ...] = ()
    axis: str = ""


UNITS: dict[str, Unit] = {
    "money": Unit("${}", ("{} dollars", "{}"), "dollars"),
    "count": Unit("{}"),
    "year": Unit("{}"),
    "rating": Unit("{}", ("{} stars", "{} out of 5"), "stars"),
    "percent": Unit("{}%", ("{}", "{} percent"), "percent"),
    "hours": Unit("{} h", ("{} hours", "{}"), "hours"),
    "grams": Unit("{} g", ("{} grams", "{}"), "grams"),
    "minutes": Unit("{} min", ("{} minutes", "{}"), "minutes"),
    "megabytes": Unit("{} MB", ("{} megabytes", "{}"), "MB"),
    "thousands": Unit("{}K", ("{} thousand", "{}000", "{}"), "thousands"),
    "degrees": Unit("{} C", ("{} degrees", "{}"), "degrees C"),
    "speed": Unit("{} km/h", ("{}", "{} kilometers per hour"), "km/h"),
    "time": Unit("{}"),
    "word": Unit("{}"),
}


@dataclass(frozen=True)
class Attribute:
    """One attribute of one category. Numbers are low, low + step, ... high (minutes after midnight for times).

    `asks` take {name}; `over` takes {name} and {x}; `reverse` takes {x}; `versus` takes {a} and {b}.
    """

    category: str
    key: str
    label: str
    unit: str
    low: int
    high: int
    step: int
    asks: tuple[str, str]
    over: str
    reverse: str
    versus: str = ""
    most: str = ""
    least: str = ""
    words: tuple[str, ...] = ()

    @property
    def numeric(self) -> bool:
        """Whether a chart can plot it."""
        return self.unit not in ("word", "time", "year")


def _monthly(category: str, noun: str, verb: str, low: int, high: int) -> list[Attribute]:
    return [
        Attribute(
            category,
            month[:3].lower(),
            f"{noun.capitalize()} in {month}",
            "count",
            low,
            high,
            1,
            (
                f"How many {noun} did {{name}} {verb} in {month}?",
                f"What is the number of {noun} of {{name}} in {month}?",
            ),
            f"Did {{name}} {verb} more than {{x}} {noun} in {month}?",
            f"Which {category} had {{x}} {noun} in {month}?",
            f"Which had more {noun} in {month}, {{a}} or {{b}}?",
            f"Which {category} had the most {noun} in {month}?",
            f"Which {category} had the fewest {noun} in {month}?",
        )
        for month in MONTHS
    ]


def _rating(category: str) -> Attribute:
    return Attribute(
        category,
        "rating",
        "Rating",
        "rating",
        30,
        49,
        1,
        ("What is the rating of {name}?", "How many stars does {name} have?"),
        "Is {name} rated above {x}?",
        f"Which {category} is rated {{x}}?",
        "Which is rated higher, {a} or {b}?",
        f"Which {category} has the highest rating?",
        f"Which {category} has the lowest rating?",
    )


_MATERIALS = ("wood", "steel", "glass", "bamboo", "copper", "leather", "cotton", "rubber", "marble")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Sunday")
_SKIES = ("sunny", "cloudy", "rainy", "foggy", "snowy", "stormy")

# fmt: off
ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("product", "price", "Price", "money", 5, 99, 1,
              ("What is the price of {name}?", "How much does {name} cost?"), "Does {name} cost more than {x}?",
              "Which product costs {x}?", "Which costs more, {a} or {b}?",
              "Which product costs the most?", "Which product costs the least?"),
    Attribute("product", "stock", "Stock", "count", 12, 480, 1,
              ("How many of {name} are in stock?", "What is the stock of {name}?"),
              "Are more than {x} of {name} in stock?",
              "Which product has {x} in stock?", "Which has more in stock, {a} or {b}?",
              "Which product has the most in stock?", "Which product has the least in stock?"),
    _rating("product"),
    Attribute("product", "battery", "Battery", "hours", 3, 60, 1,
              ("How long does the battery of {name} last?", "What is the battery life of {name}?"),
              "Does the battery of {name} last more than {x}?", "Which product has a battery of {x}?",
              "Whose battery lasts longer, {a} or {b}?",
              "Which product has the longest battery life?", "Which product has the shortest battery life?"),
    Attribute("product", "weight", "Weight", "grams", 120, 980, 10,
              ("What is the weight of {name}?", "How much does {name} weigh?"), "Does {name} weigh more than {x}?",
              "Which product weighs {x}?", "Which is heavier, {a} or {b}?",
              "Which product is the heaviest?", "Which product is the lightest?"),
    Attribute("product", "material", "Material", "word", 0, 0, 1,
              ("What is {name} made of?", "What is the material of {name}?"), "Is {name} made of {x}?",
              "Which product is made of {x}?", words=_MATERIALS),
    Attribute("product", "recycled", "Recycled", "percent", 8, 95, 1,
              ("How much of {name} is recycled?", "What percentage of {name} is recycled?"),
              "Is more than {x} of {name} recycled?", "Which product is {x} recycled?",
              "Which has the larger recycled share, {a} or {b}?",
              "Which product has the largest recycled share?", "Which product has the smallest recycled share?"),
    *_monthly("place", "visitors", "have", 110, 980),
    Attribute("place", "opens", "Opens at", "time", 360, 690, 15,
              ("When does {name} open?", "What is the opening time of {name}?"), "Does {name} open after {x}?",
              "Which place opens at {x}?"),
    Attribute("place", "closes", "Closes at", "time", 960, 1380, 15,
              ("When does {name} close?", "What is the closing time of {name}?"), "Does {name} close after {x}?",
              "Which place closes at {x}?"),
    Attribute("place", "ticket", "Ticket", "money", 3, 48, 1,
              ("How much is a ticket for {name}?", "What is the ticket price of {name}?"),
              "Does a ticket for {name} cost more than {x}?", "Which place has tickets for {x}?",
              "Which has the more expensive ticket, {a} or {b}?",
              "Which place has the most expensive ticket?", "Which place has the cheapest ticket?"),
    _rating("place"),
    Attribute("place", "closed", "Closed on", "word", 0, 0, 1,
              ("On which day is {name} closed?", "What is the closing day of {name}?"), "Is {name} closed on {x}?",
              "Which place is closed on {x}?", words=_DAYS),
    *_monthly("shop", "orders", "get", 60, 890),
    Attribute("shop", "staff", "Staff", "count", 3, 68, 1,
              ("How many people work at {name}?", "What is the number of staff at {name}?"),
              "Do more than {x} people work at {name}?", "Which shop has a staff of {x}?",
              "Which has more staff, {a} or {b}?", "Which shop has the most staff?", "Which shop has the least staff?"),
    Attribute("shop", "delivery", "Delivery", "minutes", 12, 90, 1,
              ("How long does delivery from {name} take?", "What is the delivery time of {name}?"),
              "Does delivery from {name} take more than {x}?", "Which shop delivers in {x}?",
              "Which takes longer to deliver, {a} or {b}?", "Which shop has the longest delivery time?",
              "Which shop has the shortest delivery time?"),
    _rating("shop"),
    Attribute("shop", "opens", "Opens at", "time", 360, 690, 15,
              ("When does {name} open?", "What is the opening time of {name}?"), "Does {name} open after {x}?",
              "Which shop opens at {x}?"),
    Attribute("shop", "happy", "Happy clients", "percent", 31, 98, 1,
              ("What share of the clients of {name} is happy?", "What percentage of clients is happy with {name}?"),
              "Are more than {x} of the clients of {name} happy?", "Which shop has {x} happy clients?",
              "Which has the larger share of happy clients, {a} or {b}?",
              "Which shop has the largest share of happy clients?",
              "Which shop has the smallest share of happy clients?"),
    Attribute("app", "size", "Size", "megabytes", 12, 290, 1,
              ("What is the size of {name}?", "How large is {name}?"), "Is {name} larger than {x}?",
              "Which app has a size of {x}?", "Which app is larger, {a} or {b}?",
              "Which app is the largest?", "Which app is the smallest?"),
    Attribute("app", "downloads", "Downloads", "thousands", 15, 940, 1,
              ("How many downloads does {name} have?", "What is the number of downloads of {name}?"),
              "Does {name} have more than {x} downloads?", "Which app has {x} downloads?",
              "Which has more downloads, {a} or {b}?", "Which app has the most downloads?",
              "Which app has the fewest downloads?"),
    _rating("app"),
    Attribute("app", "plan", "Monthly plan", "money", 2, 39, 1,
              ("How much is the monthly plan of {name}?", "What does {name} cost a month?"),
              "Does the plan of {name} cost more than {x}?", "Which app has a monthly plan of {x}?",
              "Which has the more expensive plan, {a} or {b}?",
              "Which app has the most expensive plan?", "Which app has the cheapest plan?"),
    Attribute("app", "minutes", "Daily use", "minutes", 4, 95, 1,
              ("How long is {name} used each day?", "What is the daily use of {name}?"),
              "Is {name} used for more than {x} a day?", "Which app is used for {x} a day?",
              "Which is used longer each day, {a} or {b}?", "Which app is used the longest each day?",
              "Which app is used the shortest each day?"),
    Attribute("app", "active", "Active users", "percent", 9, 96, 1,
              ("What share of the users of {name} is active?", "What percentage of the users of {name} is active?"),
              "Are more than {x} of the users of {name} active?", "Which app has {x} active users?",
              "Which has the larger share of active users, {a} or {b}?",
              "Which app has the largest share of active users?", "Which app has the smallest share of active users?"),
    Attribute("town", "temp", "Temperature", "degrees", 10, 39, 1,
              ("What is the temperature in {name}?", "How warm is it in {name}?"), "Is it warmer than {x} in {name}?",
              "Which town has a temperature of {x}?", "Where is it warmer, {a} or {b}?",
              "Which town is the warmest?", "Which town is the coldest?"),
    Attribute("town", "rain", "Chance of rain", "percent", 6, 95, 1,
              ("What is the chance of rain in {name}?", "How likely is rain in {name}?"),
              "Is the chance of rain in {name} above {x}?", "Which town has a {x} chance of rain?",
              "Where is rain more likely, {a} or {b}?", "Which town has the highest chance of rain?",
              "Which town has the lowest chance of rain?"),
    Attribute("town", "wind", "Wind", "speed", 6, 78, 1,
              ("How strong is the wind in {name}?", "What is the wind speed in {name}?"),
              "Is the wind in {name} stronger than {x}?", "Which town has a wind of {x}?",
              "Where is the wind stronger, {a} or {b}?", "Which town has the strongest wind?",
              "Which town has the weakest wind?"),
    Attribute("town", "people", "Population", "thousands", 11, 880, 1,
              ("How many people live in {name}?", "What is the population of {name}?"),
              "Do more than {x} people live in {name}?", "Which town has a population of {x}?",
              "Which has more people, {a} or {b}?", "Which town has the largest population?",
              "Which town has the smallest population?"),
    Attribute("town", "parks", "Parks", "count", 3, 58, 1,
              ("How many parks does {name} have?", "What is the number of parks in {name}?"),
              "Does {name} have more than {x} parks?", "Which town has {x} parks?",
              "Which has more parks, {a} or {b}?",
              "Which town has the most parks?", "Which town has the fewest parks?"),
    Attribute("town", "sky", "Sky", "word", 0, 0, 1,
              ("What is the weather in {name}?", "What does the sky look like in {name}?"), "Is it {x} in {name}?",
              "In which town is it {x}?", words=_SKIES),
)
# fmt: on


def attributes_of(category: str) -> tuple[Attribute, ...]:
    """The attributes of one category, in the order of the table."""
    return tuple(a for a in ATTRIBUTES if a.category == category)
