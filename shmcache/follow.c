#include "follow.h"

#include "lock.h"
#include "purge.h"
#include "shared.h"
#include "slab.h"
#include "table.h"

enum { TRIES = 1000 }; /* an entry in MOVING is LIVE or FILLING again a few stores later, unless its writer died */

/* A snapshot of a FILLING or LIVE entry; false when it is another life by now, or in between. */
static bool look_at(const struct shm *shm, uint32_t index, uint64_t life, struct found *found) {
    const struct entry *entry = &shm->entries[index];
    uint64_t ctl = atomic_load_explicit(&entry->ctl, memory_order_acquire);
    if (ctl_life(ctl) != life || (ctl_state(ctl) != STATE_FILLING && ctl_state(ctl) != STATE_LIVE)) return false;
    *found = (struct found){.entry = index, .ctl = ctl, .head = LOAD(entry->head), .large = LOAD(entry->large)};
    found->size = atomic_load_explicit(&entry->size, memory_order_acquire);
    return read_same(shm, found);
}

/* Whether no purge since its fetch began took it for good: whoever asks after a purge must not get what is older.
 * Notes since when it is stale. */
static bool is_unpurged(const struct shm *shm, const struct key *key, struct found *found) {
    const struct entry *entry = &shm->entries[found->entry];
    const struct head *head = chunk_at(shm, found->head);
    uint64_t born = atomic_load_explicit(&entry->born, memory_order_acquire);
    int64_t stale_from_ns = atomic_load_explicit(&entry->stale_from_ns, memory_order_relaxed);
    if (purge_judge(shm, born, (const uint32_t *)(head + 1), found->tags, key->bytes, key->len, &stale_from_ns) ==
            JUDGED_PURGED ||
        purge_refuses(shm, born, key->lo, key->hi, &stale_from_ns))
        return false;
    if (stale_from_ns < found->fresh_until_ns) found->fresh_until_ns = stale_from_ns;
    return true;
}

/* Whether the pinned entry holds the key; notes where its parts are. A FILLING entry keeps its head until LIVE. */
static bool is_of_key(const struct shm *shm, const struct key *key, int64_t now_ns, struct found *found) {
    const struct entry *entry = &shm->entries[found->entry];
    const struct head *head = chunk_at(shm, found->head);
    if (LOAD(entry->hash_lo) != key->lo || LOAD(entry->hash_hi) != key->hi) return false;
    found->tags = LOAD(head->tags);
    found->flags = LOAD(head->flags);
    found->fresh_until_ns = LOAD(head->fresh_until_ns);
    int64_t swr_ns = (int64_t)LOAD(head->swr) * SHM_WINDOW_NS, sie_ns = (int64_t)LOAD(head->sie) * SHM_WINDOW_NS;
    uint32_t key_len = LOAD(head->key_len);
    found->meta_len = LOAD(head->meta_len);
    atomic_thread_fence(memory_order_acquire);
    if (LOAD(entry->head) != found->head || key_len != key->len) return false;
    found->meta_at = (uint32_t)head_meta_at(found->tags, key_len);
    if (!shared_same((const uint8_t *)head + head_key_at(found->tags), key->bytes, key->len)) return false;
    bool unpurged = is_unpurged(shm, key, found);
    found->verdict = read_judge(now_ns, found->fresh_until_ns, swr_ns, sie_ns);
    atomic_thread_fence(memory_order_acquire);
    return unpurged && LOAD(entry->head) == found->head; /* a pin keeps the body, but a freshening gives the head back */
}

bool follow_begin(struct shm *shm, uint64_t word, const struct key *key, int64_t now_ns, struct found *found,
                  uint64_t *announced) {
    uint32_t index = (uint32_t)word - 1;
    if (index / shm->header->per_stripe != key->stripe) return false;
    for (int try = 0; try < TRIES; try++) {
        if (!look_at(shm, index, word >> 32, found)) {
            uint64_t ctl = atomic_load(&shm->entries[index].ctl);
            if (ctl_life(ctl) != word >> 32 || ctl_state(ctl) == STATE_ZOMBIE || ctl_state(ctl) == STATE_FREE) return false;
            continue;
        }
        FP();
        if (!found->large || !found->head) return false;
        if (!read_pin(shm, found)) continue;
        *announced = shm->entries[index].announced;
        if (is_of_key(shm, key, now_ns, found)) return true;
        read_unpin(shm, index);
        return false;
    }
    return false;
}

bool follow_meta(const struct shm *shm, const struct found *found, void *to) {
    read_copy(shm, found, found->meta_at, to, found->meta_len);
    atomic_thread_fence(memory_order_acquire);
    return LOAD(shm->entries[found->entry].head) == found->head;
}

enum follow_state follow_look(const struct shm *shm, uint32_t index, uint64_t *filled) {
    const struct entry *entry = &shm->entries[index];
    uint64_t state = ctl_state(atomic_load(&entry->ctl));
    bool whole = atomic_load_explicit(&entry->whole, memory_order_acquire);
    *filled = atomic_load_explicit(&entry->size, memory_order_acquire);
    /* whole is set under the lock just before LIVE, so at most a moment early */
    if (whole) return FOLLOW_WHOLE;
    return state == STATE_ZOMBIE || state == STATE_FREE ? FOLLOW_BROKEN : FOLLOW_RUNNING;
}
