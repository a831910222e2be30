"""The words of the generated databases: tables that belong together, their columns, and values for the columns.

Few words in many combinations, so that a small model can learn the language and still be asked something new.
"""

from collections.abc import Mapping

LABELS: Mapping[str, str] = {
    "name": "Alice Bruno Carla David Elena Felix Greta Hugo Irene Jonas Karin Leo Maria Nora Oscar Paula Quinn Rosa "
    "Simon Tina Ulric Vera Walter Xenia Yusuf Zara",
    "title": "Aurora Beacon Cascade Drift Ember Frontier Glacier Harbor Island Journey Keystone Lantern Meadow Nomad "
    "Orchard Prairie Quartz River Summit Tundra Umbra Valley Willow Yonder Zephyr Horizon",
}
"""Columns that name a row for people, with values; every table has one of them, as its first."""

WORLDS: Mapping[str, Mapping[str, str]] = {
    "music": {
        "singer": "name age country city genre salary awards sales",
        "concert": "title year city genre price visitors duration cost",
        "album": "title year genre language sales price length rating",
        "band": "name country city genre members year awards sales",
        "stadium": "name city country capacity cost year area visitors",
    },
    "school": {
        "student": "name age city country grade score height language",
        "teacher": "name age city subject salary experience language awards",
        "course": "title subject credits duration level price language year",
        "club": "name city members year category budget rating level",
        "exam": "title year subject duration score level grade pages",
    },
    "shop": {
        "product": "name category price stock weight color brand rating",
        "customer": "name age city country points level language sales",
        "supplier": "name country city rating distance year category stock",
        "store": "name city country area sales rating year visitors",
        "invoice": "title year status price quantity category cost weight",
    },
    "sport": {
        "player": "name age country position goals salary height weight",
        "team": "name city country wins points year budget members",
        "coach": "name age country experience salary wins awards language",
        "game": "title year city score visitors duration status goals",
        "race": "title year country distance duration speed category visitors",
    },
    "travel": {
        "hotel": "name city country rooms rating price year brand",
        "flight": "title duration distance price status year capacity brand",
        "guest": "name age country city points language level quantity",
        "museum": "name city country visitors area year price category",
        "tour": "title city country duration price language distance level",
    },
    "health": {
        "doctor": "name age city specialty salary experience language awards",
        "patient": "name age city country weight height grade shift",
        "nurse": "name age city department salary shift experience language",
        "clinic": "name city country rooms rating year area budget",
        "drug": "name category price stock weight color brand year",
    },
    "reading": {
        "author": "name age country city language awards genre sales",
        "book": "title year genre pages price language rating weight",
        "library": "name city country area visitors year rooms budget",
        "reader": "name age city country points level language score",
        "magazine": "title category price pages sales year language color",
    },
    "company": {
        "employee": "name age city department salary experience level shift",
        "office": "name city country area rooms cost capacity year",
        "project": "title year status budget duration department cost level",
        "machine": "name brand price weight speed color year status",
        "meeting": "title year city department duration level status cost",
    },
}
"""Columns by the word for a row, by world. Tables of one world may refer to each other."""

PLURALS = {"library": "libraries", "coach": "coaches"}
"""Plurals that are not formed by adding s."""

TEXT_VALUES: Mapping[str, str] = {
    "country": "France Spain Italy Japan Brazil Canada Egypt India Norway Kenya",
    "city": "Paris Rome Tokyo Madrid London Berlin Oslo Cairo Lima Dublin",
    "genre": "rock jazz pop folk drama mystery comedy classical",
    "grade": "first second third fourth fifth",
    "subject": "math history physics art biology music chemistry",
    "level": "basic medium advanced expert",
    "category": "food toys garden sport science travel fashion",
    "color": "red blue green black white yellow",
    "status": "open closed late cancelled planned",
    "position": "forward defender keeper midfielder",
    "language": "English French Spanish German Arabic Hindi",
    "specialty": "surgery heart children skin eyes",
    "department": "sales finance research support design",
    "shift": "morning evening night",
    "brand": "Apex Nova Orion Delta Zenith",
}
NUMBER_RANGES: Mapping[str, tuple[int, int, int]] = {
    "age": (18, 75, 1),
    "year": (1985, 2024, 1),
    "salary": (2000, 9000, 100),
    "price": (5, 200, 5),
    "cost": (100, 5000, 100),
    "budget": (1000, 90000, 1000),
    "sales": (100, 9000, 100),
    "visitors": (100, 9900, 100),
    "capacity": (1000, 60000, 1000),
    "members": (3, 90, 1),
    "rating": (1, 50, 1),
    "score": (1, 100, 1),
    "points": (10, 990, 10),
    "goals": (1, 60, 1),
    "wins": (1, 40, 1),
    "awards": (1, 30, 1),
    "credits": (1, 30, 1),
    "experience": (1, 40, 1),
    "duration": (10, 300, 10),
    "distance": (5, 900, 5),
    "length": (20, 90, 1),
    "pages": (50, 900, 10),
    "rooms": (2, 80, 1),
    "area": (50, 3000, 50),
    "stock": (1, 300, 1),
    "quantity": (1, 100, 1),
    "weight": (10, 150, 1),
    "height": (120, 210, 1),
    "speed": (10, 200, 5),
}
"""First value, last value and step, by column."""


def plural(row: str) -> str:
    """The plural of the noun `row`."""
    return PLURALS.get(row, f"{row}s")


def is_number(column: str) -> bool:
    """Whether a column holds numbers."""
    return column in NUMBER_RANGES
