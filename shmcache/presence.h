/* Presence: how many of something there are at a time per key, over all members; exact, without a lock.
 *
 * A word is {tag of the key 40 | member 6 | count 18}: what one member has present of one key. Words come in sets of
 * four cache lines; a key's words lie in the set its hash names, one for each member that has any of it. 0 is free.
 * A word is written by its member alone, except that whoever claims a free one exchanges it.
 *
 * Why there are never more than `most`. Who enters adds to its own word first and then adds up the words of all, in
 * one order for all (seq_cst). Suppose one too many were in. All of them were counted before the last one looked,
 * none has left, and a word that counts somebody stays where it is: so the last one saw them all, and took itself
 * back. Of two that take themselves back at once one may have fitted: both look again, a few times.
 *
 * Why a death leaves nothing. A dead member's words are its own: who reaps it clears them. Until then they count.
 *
 * When a set has no free word, a new key is let in without being counted: a flood of keys weakens the limits of new
 * keys, never of those that have words. Two keys that agree in 53 bits of their seeded hashes share a count.
 */
#ifndef SHMCACHE_PRESENCE_H
#define SHMCACHE_PRESENCE_H

#include <stddef.h>
#include <stdint.h>

#define PRESENCE_WAYS 32
#define PRESENCE_MOST ((1 << 18) - 1)

enum presence_answer {
    PRESENCE_OVER,      /* there are `most` already */
    PRESENCE_ENTERED,   /* counted until presence_leave */
    PRESENCE_UNCOUNTED, /* no word to count in: let in, and does not leave */
};

/* Bytes of a region of that many words; it must be 64-byte aligned. */
size_t presence_region_bytes(size_t words);

/* Lay out a region: nobody is there. */
void presence_init(void *region, size_t words);

/* One more of the key with that hash, unless there are `most`; 1 <= most <= PRESENCE_MOST. `words` is a power of two,
 * at least PRESENCE_WAYS. A member's own calls must follow one another. Never waits. */
enum presence_answer presence_enter(void *region, size_t words, int member, uint64_t hash, uint64_t most);

/* One less, of those this member has entered. */
void presence_leave(void *region, size_t words, int member, uint64_t hash);

/* How many there are. */
uint64_t presence_count(const void *region, size_t words, uint64_t hash);

/* Forget all that a dead member had. Idempotent. */
void presence_reap(void *region, size_t words, int member);

#endif
