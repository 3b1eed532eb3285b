/* Purges: what is stored becomes invisible (hard) or stale (soft) by a mark with a generation. Nothing is looked up
 * or given back, so a purge costs the same for one entry and for a million, and leaves nothing to repair.
 *
 * The purge epoch counts purges. An entry remembers the epoch at which its fetch began (`born`); a purge of a tag
 * writes the next epoch into the tag's slot; an entry is valid while no slot of its tags, no purge of everything and
 * no rule is younger than its birth. Who finds it valid may lift its birth to the epoch read before looking.
 *
 * The directories of a key, "https://host/", "https://host/a/", "https://host/a/b/"..., are tags without being asked
 * for, SHM_LEVELS of them: purging such a prefix is the purge of a tag. Any other prefix becomes a rule, tested by
 * who reads an entry older than it. A rule is forgotten once the crawler has seen every entry since; what was still
 * being fetched then is refused (header.retired_epoch). With all rules taken, every entry is looked at at once.
 *
 * Why whoever begins a fetch after a purge returned is not hit by it, and who began before is: marks are raised to
 * epoch + 1 before purge_epoch becomes epoch + 1. A birth of at least that value was read after all marks stood.
 *
 * Tags and keys share slots by their hashes: a collision costs a miss (hard) or a revalidation (soft).
 */
#ifndef SHMCACHE_PURGE_H
#define SHMCACHE_PURGE_H

#include "segment.h"

enum judgement {
    JUDGED_VALID,
    JUDGED_STALE,  /* purged softly */
    JUDGED_PURGED,
};

/* Slot of a tag in REGION_TAGS. */
uint32_t purge_tag_slot(const struct shm *shm, const uint8_t *tag, size_t len);

/* Slot of a key's own marks, which only fetches in flight ask. */
uint32_t purge_key_slot(const struct shm *shm, uint64_t hash_lo, uint64_t hash_hi);

/* Slots of the directories of a key, at most SHM_LEVELS; how many. */
uint32_t purge_levels(const struct shm *shm, const uint8_t *key, size_t len, uint32_t *slots);

/* Whether any purge since `born` may concern an entry. Marks beyond the purge epoch are those of a purge that is
 * not done yet, or whose process died: they count when the epoch gets there. */
static inline bool purge_is_due(const struct shm *shm, uint64_t born) {
    return atomic_load_explicit(&shm->header->mark_epoch, memory_order_acquire) > born &&
           atomic_load_explicit(&shm->header->purge_epoch, memory_order_acquire) > born;
}

/* What the purges since `born` make of an entry with these tag slots and this key. *stale_from_ns is lowered to
 * the soft purge; of several that share a mark only the last is known, so nobody looked at the entry in between.
 * Reads shared words only, so it may look at an entry that is changing. */
enum judgement purge_judge(const struct shm *shm, uint64_t born, const uint32_t *tags, uint32_t count,
                           const uint8_t *key, uint32_t key_len, int64_t *stale_from_ns);

/* Whether a fetch that began at `born` must not be stored because its key was deleted or a rule forgotten since;
 * *stale_from_ns is lowered to a soft purge of the key. Ask after purge_judge, which may just have missed a rule. */
bool purge_refuses(const struct shm *shm, uint64_t born, uint64_t hash_lo, uint64_t hash_hi, int64_t *stale_from_ns);

/* Purge everything, or all that carries a tag. soft_ns 0: hard; else the moment (never 0) from which it is stale.
 * The new generation. O(1), no lock. */
uint64_t purge_everything(struct shm *shm, int64_t soft_ns);
uint64_t purge_tag(struct shm *shm, uint32_t slot, int64_t soft_ns);

/* Refuse, or make stale, what is being fetched for this key; entries do not ask. */
void purge_key(struct shm *shm, uint64_t hash_lo, uint64_t hash_hi, int64_t soft_ns);

/* Purge every key that begins with these bytes; the new generation, 0 when a stopped process is in the way. O(1)
 * unless all rules are taken or the prefix is longer than one holds. Holds no stripe before and after. */
uint64_t purge_prefix(struct shm *shm, const uint8_t *prefix, size_t len, int64_t soft_ns);

uint64_t purge_generation(const struct shm *shm);

#endif
