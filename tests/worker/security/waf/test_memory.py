"""What the WAF remembers: bounded, and kept while it is asked for."""

from worker.security.waf.memory import ENTRY_BYTES, GENERATION_BYTES, KEY_BYTES, Memory

FILL = GENERATION_BYTES // (4 + ENTRY_BYTES)  # keys of four bytes that one generation holds


def key(number: int) -> bytes:
    return number.to_bytes(4, "big")


def test_what_was_put_is_found_until_two_generations_are_full() -> None:
    for number, found in ((2 * FILL, 0), (2 * FILL + 1, None)):
        memory = Memory()
        for put in range(number):
            memory.put(key(put), put)
        assert memory.get(key(number - 1)) == number - 1
        assert memory.get(key(0)) == found


def test_a_key_that_is_asked_for_outlives_all_that_are_not() -> None:
    memory = Memory()
    memory.put(b"asked", "kept")
    for number in range(10 * FILL):
        memory.put(key(number), number)
        if number % (FILL // 2) == 0:
            assert memory.get(b"asked") == "kept"
    assert memory.get(key(0)) is None


def test_a_long_key_is_not_kept() -> None:
    memory = Memory()
    memory.put(b"x" * KEY_BYTES, 1)
    memory.put(b"y" * (KEY_BYTES + 1), 2)
    assert (memory.get(b"x" * KEY_BYTES), memory.get(b"y" * (KEY_BYTES + 1))) == (1, None)


def test_long_keys_fill_a_generation_sooner() -> None:
    memory = Memory()
    most = GENERATION_BYTES // (KEY_BYTES + ENTRY_BYTES)
    for number in range(2 * most + 1):
        memory.put(key(number) * (KEY_BYTES // 4), number)
    assert memory.get(key(0) * (KEY_BYTES // 4)) is None
    assert memory.get(key(most) * (KEY_BYTES // 4)) == most
