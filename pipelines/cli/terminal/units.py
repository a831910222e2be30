"""Numbers and durations as the terminal shows them."""


def count_text(number: float) -> str:
    """A count in at most five characters and its suffix.

    >>> count_text(320), count_text(21_500), count_text(3.577e6)
    ('320', '21.5k', '3.6M')
    """
    for limit, suffix, divisor in ((1e9, "G", 1e9), (1e6, "M", 1e6), (1e4, "k", 1e3)):
        if number >= limit:
            return f"{number / divisor:.1f}{suffix}"
    return f"{number:.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"


def bytes_text(size: float) -> str:
    """A size in bytes.

    >>> bytes_text(11_504_737)
    '11.5 MB'
    """
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= limit:
            return f"{size / limit:.1f} {unit}"
    return f"{size:.0f} B"


def duration_text(seconds: float) -> str:
    """A duration in its two largest units.

    >>> duration_text(2.04), duration_text(130), duration_text(7_500)
    ('2.0 s', '2 min 10 s', '2 h 05 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
