/* The index and the life of an entry: find, publish, retire, free. Everything here needs the stripe's lock.
 *
 * An index slot is {tag 12 | place 20 | head 32}: bits of the hash, the entry's number within its stripe + 1, and
 * the chunk its head is in. A key has two candidate buckets of one cache line each. Replacing a key swings its slot
 * by one store, so a reader sees the old body or the new one. The head is only there to be fetched along with the
 * entry instead of after it; what counts is what the entry says.
 */
#ifndef SHMCACHE_TABLE_H
#define SHMCACHE_TABLE_H

#include "segment.h"

/* A key and where it belongs. */
struct key {
    const uint8_t *bytes;
    uint32_t len;
    uint32_t stripe;
    uint32_t bucket[2]; /* within the stripe */
    uint32_t tag;       /* 12 bits */
    uint64_t lo, hi;    /* XXH3-128, seeded */
};

void key_make(const struct shm *shm, struct key *key, const uint8_t *bytes, size_t len);

/* The slots of a bucket. */
static inline _Atomic uint64_t *slots_of(const struct shm *shm, uint32_t stripe, uint32_t bucket) {
    return shm->slots + ((size_t)stripe * shm->header->buckets + bucket) * SHM_WAYS;
}

static inline uint32_t slot_tag(uint64_t slot) { return (uint32_t)(slot >> 52); }
static inline uint32_t slot_head(uint64_t slot) { return (uint32_t)slot; }
static inline uint32_t slot_entry(const struct shm *shm, uint32_t stripe, uint64_t slot) {
    return stripe * shm->header->per_stripe + ((uint32_t)(slot >> 32) & SHM_PER_STRIPE_MAX) - 1;
}

/* The tag of a hash; the slot of a live entry. */
static inline uint32_t tag_of(uint64_t hash_hi) { return (uint32_t)(hash_hi >> 52); }
static inline uint64_t slot_word(const struct shm *shm, uint32_t index) {
    const struct entry *entry = entry_at(shm, index);
    uint64_t place = index % shm->header->per_stripe + 1;
    return (uint64_t)tag_of(entry->hash_hi) << 52 | place << 32 | entry->head;
}

/* Fetch the entry the key seems to have, and its head. Needs no lock, for it is only a guess. */
void table_foresee(const struct shm *shm, const struct key *key);

/* The slot that names the live entry of this key; NULL when there is none. */
_Atomic uint64_t *table_find_locked(struct shm *shm, const struct key *key);

/* The slot that names this live entry; NULL when none does. */
_Atomic uint64_t *table_slot_of_locked(struct shm *shm, uint32_t entry);

/* Note in its slot where a live entry's head is now. */
void table_head_moved_locked(struct shm *shm, uint32_t entry);

/* A FILLING entry of this member, all references empty; NOBODY when none is free. */
uint32_t entry_take_locked(struct shm *shm, const struct key *key, uint64_t born);

/* Make a FILLING entry, fully written, the one of its key; an older one is retired. */
void entry_publish_locked(struct shm *shm, const struct key *key, uint32_t entry);

/* Note that a live entry was found valid, or stale from some moment, at that purge epoch. */
void entry_confirm_locked(struct shm *shm, uint32_t entry, uint64_t epoch, int64_t stale_from_ns);

/* Take a live entry out of index and queue; its room is given back now, or when its last pin goes. */
void entry_retire_locked(struct shm *shm, uint32_t entry);

/* The same for one whose names, lengths or queue links may be wrong: the stripe is rebuilt without it. */
void entry_condemn_locked(struct shm *shm, uint32_t entry);

/* Give back all an entry names, and the entry. It must be in no slot and no queue. */
void entry_free_locked(struct shm *shm, uint32_t entry);

/* The same, once its last pin goes. */
void entry_drop_locked(struct shm *shm, uint32_t entry);

/* Free the zombies without pins and the half-made entries of the dead; how many of each. */
void table_sweep_locked(struct shm *shm, uint32_t stripe, uint32_t *zombies, uint32_t *fills);

/* True when all it names is its stripe's and its lengths agree with the room that gives; safe on any garbage. */
bool entry_fits(const struct shm *shm, const struct entry *entry);

/* True while the process that fills this entry is alive as far as the member table knows. */
bool filler_lives(const struct shm *shm, const struct entry *entry);

/* Bytes of key, meta and body; what the entry takes of the segment, in SHM_UNIT. */
uint64_t entry_bytes(const struct shm *shm, const struct entry *entry);
uint32_t entry_charge(const struct shm *shm, const struct entry *entry);

#endif
