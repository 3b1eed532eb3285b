def find_number(text: bytes, start: int) -> tuple[int, int] | None:
    """Where the first card-like number lies that begins at `start` or later; None if there is none.

    14 to 19 digits in a row, or 13 to 19 in groups as printed on cards, parted by spaces or hyphens; the first
    is 2 to 6, the checksum (Luhn) is right, and they are no part of a word, a decimal or a row of groups.
    Looks at no more than 5 bytes before and behind the number.
    """
