"""The tests of the cache's C would notice: each mutant takes one safeguard out, and its scene must fail.

A mutant is an exact piece of a source file and what stands there instead; a change of that file that hides
the piece fails the test, so that the mutant is kept up with it. The scenes are those of
`tests/native/driver`: interleavings forced by stopping a process at each fault point in turn, so that none
depends on chance.
"""

import subprocess
from typing import NamedTuple

import pytest

from tests.support.native import SOURCES, Build, run


class Mutant(NamedTuple):
    """`file` with `old` (which occurs there once) replaced by `new`; `scene` must fail."""

    name: str
    file: str
    old: str
    new: str
    scene: str


MUTANTS = [
    # the five of the design
    Mutant(
        "a stripe is declared whole without being rebuilt",
        "repair.c",
        "        stripe_rebuild_locked(shm, stripe);\n        lock_mend",
        "        lock_mend",
        "replace small, killed",
    ),
    Mutant(
        "the pins of the dead stay",
        "repair.c",
        "        atomic_fetch_and(&entry->pins, ~bit);\n",
        "",
        "pin and delete, killed",
    ),
    Mutant(
        "the half-made entries of the dead stay",
        "table.c",
        "state == STATE_FILLING && !filler_lives(shm, entry)",
        "state == STATE_FILLING && false",
        "put outside the lock, killed",
    ),
    Mutant(
        "a pinned entry is freed",
        "table.c",
        "    if (!atomic_load(&entry->pins)) entry_free_locked(shm, index);\n}",
        "    entry_free_locked(shm, index);\n}",
        "read large, deleted",
    ),
    Mutant(
        "a copy is not checked afterwards",
        "read.c",
        "    return atomic_load_explicit(&shm->entries[found->entry].ctl, "
        "memory_order_relaxed) == found->ctl;",
        "    return shm && found;",
        "read small, replaced",
    ),
    # reading
    Mutant(
        "a pin is not checked afterwards",
        "read.c",
        "    if (atomic_load(&entry->ctl) == found->ctl) return true;\n    read_unpin(shm, found->entry);\n"
        "    return false;",
        "    return true;",
        "read large, deleted",
    ),
    Mutant(
        "a reader compares the hash only",
        "read.c",
        "!shared_same((const uint8_t *)head + head_key_at(found->tags), key->bytes, key->len)",
        "!shared_same((const uint8_t *)head + head_key_at(found->tags), key->bytes, 0)",
        "two keys of one hash",
    ),
    Mutant(
        "a writer compares the hash only",
        "table.c",
        "return head->key_len == key->len && memcmp(",
        "return head->key_len == key->len || memcmp(",
        "two keys of one hash",
    ),
    # the life of an entry
    Mutant(
        "the slot names the entry before it is live",
        "table.c",
        "    atomic_store_explicit(&entry->ctl, ctl, memory_order_release);\n    FP();\n"
        "    atomic_store_explicit(slot, slot_word(shm, index), memory_order_release);\n",
        "    atomic_store_explicit(slot, slot_word(shm, index), memory_order_release);\n    FP();\n"
        "    atomic_store_explicit(&entry->ctl, ctl, memory_order_release);\n",
        "replace small, read",
    ),
    Mutant(
        "the old slot is emptied before the new one is set",
        "table.c",
        "    if (!slot) slot = room_in_index_locked(shm, key);\n",
        "    if (!slot) slot = room_in_index_locked(shm, key);\n    atomic_store(slot, 0);\n",
        "replace small, read",
    ),
    Mutant(
        "an entry taken again begins no new life",
        "table.c",
        "atomic_load_explicit(&entry->ctl, memory_order_relaxed)) + 1;",
        "atomic_load_explicit(&entry->ctl, memory_order_relaxed));",
        "read small, taken again",
    ),
    Mutant(
        "the pins are read before the entry is a zombie",
        "table.c",
        "    atomic_store(&entry->ctl, ctl);\n    FP();\n    if (!atomic_load(&entry->pins)) entry_free",
        "    bool pinned = atomic_load(&entry->pins);\n    FP();\n    atomic_store(&entry->ctl, ctl);\n"
        "    if (!pinned) entry_free",
        "hold large, deleted by another",
    ),
    # moving
    Mutant(
        "a chunk is moved although it was pinned meanwhile",
        "room.c",
        "    FP();\n    if (atomic_load(&entry->pins)) {",
        "    FP();\n    if (false) {",
        "move, pinned",
    ),
    Mutant(
        "a moved entry keeps its ctl",
        "room.c",
        "moved = ctl_with(moving + (1 << 8), STATE_LIVE);",
        "moved = ctl;",
        "read small, moved",
    ),
    # repairing and reaping
    Mutant(
        "a half-moved entry stays half-moved",
        "repair.c",
        "        if (state_of(entry) != STATE_MOVING) continue;\n",
        "        continue;\n",
        "move, killed",
    ),
    Mutant(
        "reaping does not raise the member's epoch",
        "repair.c",
        "    atomic_fetch_add(&place->epoch, 1);\n",
        "",
        "put large, killed",
    ),
    Mutant(
        "the dead's free pages are not offered again",
        "repair.c",
        "    slab_rescue_hints(shm);\n",
        "",
        "delete large, killed",
    ),
    Mutant(
        "a zombie left by a busy stripe is forgotten",
        "repair.c",
        "        table_sweep_locked(shm, stripe, &zombies, &fills);\n    }\n    return true;",
        "        (void)zombies, (void)fills;\n    }\n    return true;",
        "put small, unpinned meanwhile",
    ),
    # purging
    Mutant(
        "the purge epoch moves before the marks are set",
        "purge.c",
        "    do set_marks(shm, purge, epoch + 1);\n"
        "    while (!atomic_compare_exchange_strong(&shm->header->purge_epoch, &epoch, epoch + 1));\n",
        "    while (!atomic_compare_exchange_strong(&shm->header->purge_epoch, &epoch, epoch + 1)) {}\n"
        "    FP();\n    set_marks(shm, purge, epoch + 1);\n",
        "purge, read",
    ),
    Mutant(
        "a purge during a fetch is not asked about",
        "fill.c",
        "return judged != JUDGED_PURGED && !purge_refuses",
        "return (judged != JUDGED_PURGED || true) && !purge_refuses",
        "fill, purged meanwhile",
    ),
    Mutant(
        "a freshened entry is born anew",
        "fill.c",
        "entry_take_locked(shm, key, atomic_load(&before->born));",
        "entry_take_locked(shm, key, purge_generation(shm));",
        "freshen, purged meanwhile",
    ),
    # following
    Mutant(
        "an abandoned fill is freed under its followers",
        "fill.c",
        "    if (is_ours(shm, fill->entry, fill->ctl)) entry_drop_locked(shm, fill->entry);\n",
        "    if (is_ours(shm, fill->entry, fill->ctl)) entry_free_locked(shm, fill->entry);\n",
        "abandon, followed",
    ),
    Mutant(
        "the last page is traded for chunks under a follower",
        "fill.c",
        "    if (atomic_load(&entry->pins)) {\n        drop_tails_locked(shm, fill);\n    } else {",
        "    if (false) {\n        drop_tails_locked(shm, fill);\n    } else {",
        "fill, followed",
    ),
    Mutant(
        "bytes are announced before they are written",
        "fill.c",
        "        size_t piece = len < SHM_PAGE - offset ? len : SHM_PAGE - offset;\n",
        "        size_t piece = len < SHM_PAGE - offset ? len : SHM_PAGE - offset;\n"
        "        atomic_store(&entry->size, at + piece);\n        FP();\n",
        "fill, followed",
    ),
]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("native"))


def play(build: Build, name: str, scene: str, changed: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return run(build.driver(name, changed), ["scene", scene])


@pytest.mark.parametrize("scene", sorted({mutant.scene for mutant in MUTANTS}))
def test_the_source_as_it_is_passes(build: Build, scene: str) -> None:
    played = play(build, "original", scene, {})
    assert played.returncode == 0, played.stdout
    assert "points" in played.stdout


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_noticed(build: Build, mutant: Mutant) -> None:
    source = (SOURCES / mutant.file).read_text()
    assert source.count(mutant.old) == 1, "the source changed: bring this mutant up to date"
    played = play(build, "mutant", mutant.scene, {mutant.file: source.replace(mutant.old, mutant.new)})
    assert played.returncode not in (0, 2), f"nothing failed:\n{played.stdout}"
