"""The many ways to put one question into words.

In a phrase, {rows} is a table's name and {row} the word for one of its rows, {label} the name of a row.
"""

from collections.abc import Mapping

ASK = (
    ("List the", "."),
    ("Show the", "."),
    ("Give the", "."),
    ("Find the", "."),
    ("Return the", "."),
    ("What is the", "?"),
    ("Tell me the", "."),
)
"""Openings of a question for columns, each with the mark it ends with."""
ALL_ROWS = ("all {rows}", "the {rows}", "all the {rows}", "each of the {rows}")
SOME_ROWS = ("{rows}", "all {rows}", "the {rows}")

COUNT = (
    "How many {rows} are there?",
    "Count the {rows}.",
    "Count all {rows}.",
    "What is the number of {rows}?",
    "Find the number of {rows}.",
    "Give the total number of {rows}.",
    "How many {rows} do we have?",
)
COUNT_WHERE = (
    "How many {rows} are there {condition}?",
    "Count the {rows} {condition}.",
    "Find the number of {rows} {condition}.",
    "What is the number of {rows} {condition}?",
)
EQUALS = ("whose {column} is '{value}'", "with {column} '{value}'", "that have {column} '{value}'")
COMPARES = ("whose {column} is {sign} {value}", "with {column} {sign} {value}", "with a {column} {sign} {value}")
SIGNS: Mapping[str, tuple[str, ...]] = {
    ">": ("above", "over", "greater than", "more than"),
    "<": ("below", "under", "less than", "smaller than"),
    ">=": ("at least",),
    "<=": ("at most",),
}
EXTREME: Mapping[str, str] = {" DESC": "highest", "": "lowest"}
"""Word for the first row of an order."""
EXTREME_ROW = (
    "Which {row} has the {extreme} {column}?",
    "What is the {label} of the {row} with the {extreme} {column}?",
    "Find the {label} of the {row} with the {extreme} {column}.",
    "Show the {label} of the {row} that has the {extreme} {column}.",
)
EXTREME_ROWS = (
    "Which {limit} {rows} have the {extreme} {column}?",
    "Show the {label} of the {limit} {rows} with the {extreme} {column}.",
    "List the {label} of the {limit} {rows} with the {extreme} {column}.",
)
SORTED: Mapping[str, tuple[str, ...]] = {
    " DESC": (
        "List the {label} of all {rows} by {column} from high to low.",
        "Show the {label} of all {rows} in descending order of {column}.",
        "Give the {label} of all {rows} sorted by {column} from highest to lowest.",
    ),
    "": (
        "List the {label} of all {rows} by {column} from low to high.",
        "Show the {label} of all {rows} in ascending order of {column}.",
        "Give the {label} of all {rows} sorted by {column} from lowest to highest.",
    ),
}
AGGREGATES: Mapping[str, tuple[str, ...]] = {
    "avg": ("average", "mean"),
    "max": ("maximum", "highest", "largest"),
    "min": ("minimum", "lowest", "smallest"),
    "sum": ("total", "summed"),
}
AGGREGATE = (
    "What is the {word} {column} of {subject}?",
    "Find the {word} {column} of {subject}.",
    "Give the {word} {column} of {subject}.",
    "Show the {word} {column} of {subject}.",
)
DISTINCT = (
    "List the different {column} values of the {rows}.",
    "What are the distinct {column} values of the {rows}?",
    "Show each {column} of the {rows} once.",
    "Which different {column} values do the {rows} have?",
)
COUNT_DISTINCT = (
    "How many different {column} values do the {rows} have?",
    "Count the different {column} values of the {rows}.",
    "How many distinct {column} values are there among the {rows}?",
)
GROUP_COUNT = (
    "How many {rows} are there for each {group}?",
    "Count the {rows} of each {group}.",
    "Show each {group} and its number of {rows}.",
    "For each {group}, how many {rows} are there?",
)
GROUP_AGGREGATE = (
    "What is the {word} {column} of {rows} for each {group}?",
    "Show the {word} {column} of {rows} by {group}.",
    "For each {group}, find the {word} {column} of {rows}.",
)
HAVING = (
    "Which {group} values have more than {least} {rows}?",
    "Find each {group} with more than {least} {rows}.",
    "List the {group} values that have more than {least} {rows}.",
)
JOIN = (
    "Show the {column} of each {row} and the {parent_label} of its {parent}.",
    "List the {column} of every {row} with its {parent} {parent_label}.",
    "Give the {column} of all {rows} and the {parent_label} of the {parent}.",
)
HAS_CHILDREN = ("Which {rows} have {some} {children}?", "List the {label} of {rows} that have {some} {children}.")
AVERAGE = (
    "Which {rows} have a {column} {way} the average?",
    "List the {label} of {rows} with {column} {way} average.",
    "Find the {label} of {rows} whose {column} is {way} the average.",
)
COMPOUND = (
    "Which {rows} {condition} have a {column} {way} the average of all?",
    "List the {label} of {rows} {condition} and with {column} {way} the average of all.",
    "Of the {rows} {condition}, which have a {column} {way} the average of all?",
)
INTERSECT = (
    "Which {column} values do both {rows} {first} and {rows} {second} have?",
    "Find each {column} of {rows} {first} that {rows} {second} have as well.",
)
EXCEPT = (
    "Which {column} values do no {rows} {first} have?",
    "Find each {column} that no {rows} {first} have.",
)
UNION = (
    "List the {label} of the {rows} {first} together with the {label} of those {second}.",
    "Show the {label} of {rows} {first} and the {label} of {rows} {second}.",
)
MOST_CHILDREN: Mapping[str, tuple[str, ...]] = {
    " DESC": ("Which {row} has the most {children}?", "Find the {label} of the {row} that has the most {children}."),
    "": (
        "Which {row} with any {children} has the fewest?",
        "Find the {label} of the {row} that has {children}, but the fewest.",
    ),
}
