#include "purge.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "lock.h"
#include "repair.h"
#include "shared.h"
#include "slab.h"
#include "table.h"

#define SWEEP_PATIENCE_NS 2000000000ll

/* --- marks ---------------------------------------------------------------------------------------------------- */

uint32_t purge_tag_slot(const struct shm *shm, const uint8_t *tag, size_t len) {
    uint64_t hash = XXH3_64bits_withSeed(tag, len, shm->header->seed ^ 0x746167ull);
    return (uint32_t)hash & (shm->header->tags - 1);
}

uint32_t purge_key_slot(const struct shm *shm, uint64_t hash_lo, uint64_t hash_hi) {
    return (uint32_t)(hash_lo >> 16 ^ hash_hi) & (shm->header->tags - 1);
}

static struct soft_mark *soft_of(const struct shm *shm, uint32_t slot) { return &shm->soft[slot / SHM_SOFT_SHARE]; }

static void raise_to(_Atomic uint64_t *word, uint64_t value) {
    uint64_t before = atomic_load(word);
    while (before < value && !atomic_compare_exchange_weak(word, &before, value)) {}
    FP();
}

static void raise_soft(struct soft_mark *mark, uint64_t epoch, int64_t ns) {
    int64_t before = atomic_load(&mark->ns);
    while (before < ns && !atomic_compare_exchange_weak(&mark->ns, &before, ns)) {}
    FP();
    raise_to(&mark->epoch, epoch);
}

/* What a purge marks: a hard word or a soft mark, and the sums that let readers skip the search. */
struct purge {
    _Atomic uint64_t *hard;
    struct soft_mark *soft;
    struct rule *rule;
    int64_t soft_ns;
    bool of_key; /* no entry asks */
};

static void set_marks(struct shm *shm, const struct purge *purge, uint64_t epoch) {
    struct header *header = shm->header;
    if (purge->hard) raise_to(purge->hard, epoch);
    if (purge->soft) raise_soft(purge->soft, epoch, purge->soft_ns);
    if (purge->rule) {
        atomic_store(&purge->rule->epoch, epoch); /* by the holder of rules_lock alone */
        FP();
        raise_to(&header->rule_epoch, epoch);
    }
    if (purge->of_key) return;
    if (purge->soft) raise_to(&header->soft_epoch, epoch);
    raise_to(&header->mark_epoch, epoch);
}

/* The marks are set before the epoch moves: whoever has seen the new epoch sees the marks. */
static uint64_t carry_out(struct shm *shm, const struct purge *purge) {
    uint64_t epoch = atomic_load(&shm->header->purge_epoch);
    do set_marks(shm, purge, epoch + 1);
    while (!atomic_compare_exchange_strong(&shm->header->purge_epoch, &epoch, epoch + 1));
    FP();
    return epoch + 1;
}

uint64_t purge_everything(struct shm *shm, int64_t soft_ns) {
    struct header *header = shm->header;
    struct purge purge = {.soft_ns = soft_ns};
    if (soft_ns) purge.soft = &header->all_soft;
    else purge.hard = &header->all_epoch;
    return carry_out(shm, &purge);
}

static struct purge purge_of_slot(struct shm *shm, uint32_t slot, int64_t soft_ns) {
    struct purge purge = {.soft_ns = soft_ns};
    if (soft_ns) purge.soft = soft_of(shm, slot);
    else purge.hard = &shm->tags[slot];
    return purge;
}

uint64_t purge_tag(struct shm *shm, uint32_t slot, int64_t soft_ns) {
    struct purge purge = purge_of_slot(shm, slot, soft_ns);
    return carry_out(shm, &purge);
}

void purge_key(struct shm *shm, uint64_t hash_lo, uint64_t hash_hi, int64_t soft_ns) {
    struct purge purge = purge_of_slot(shm, purge_key_slot(shm, hash_lo, hash_hi), soft_ns);
    purge.of_key = true;
    carry_out(shm, &purge);
}

uint64_t purge_generation(const struct shm *shm) { return atomic_load(&shm->header->purge_epoch); }

/* --- judging -------------------------------------------------------------------------------------------------- */

static uint64_t seen(const _Atomic uint64_t *word) { return atomic_load_explicit(word, memory_order_acquire); }

/* Lower *stale_from_ns to the mark's time, if it is younger than `born`. */
static void soften(const struct soft_mark *mark, uint64_t born, int64_t *stale_from_ns) {
    if (seen(&mark->epoch) <= born) return;
    int64_t ns = atomic_load_explicit(&mark->ns, memory_order_relaxed);
    if (ns < *stale_from_ns) *stale_from_ns = ns;
}

/* A rule whose epoch changes while we look has been forgotten, so it concerns no entry that is read; or its purge
 * has not returned yet, and will be asked about again: its epoch ends beyond any birth we may lift an entry to. */
static bool judge_by_rules(const struct shm *shm, uint64_t born, const uint8_t *key, uint32_t key_len,
                           int64_t *stale_from_ns) {
    for (const struct rule *rule = shm->rules; rule < shm->rules + SHM_RULES; rule++) {
        uint64_t epoch = seen(&rule->epoch);
        if (epoch <= born) continue;
        uint32_t len = LOAD(rule->len);
        if (len > key_len || len > SHM_RULE_BYTES || !shared_same(rule->bytes, key, len)) continue;
        int64_t soft_ns = LOAD(rule->soft_ns);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&rule->epoch, memory_order_relaxed) != epoch) continue;
        if (!soft_ns) return true;
        if (soft_ns < *stale_from_ns) *stale_from_ns = soft_ns;
    }
    return false;
}

enum judgement purge_judge(const struct shm *shm, uint64_t born, const uint32_t *tags, uint32_t count,
                           const uint8_t *key, uint32_t key_len, int64_t *stale_from_ns) {
    const struct header *header = shm->header;
    if (!purge_is_due(shm, born)) return JUDGED_VALID;
    if (seen(&header->all_epoch) > born) return JUDGED_PURGED;
    bool ask_soft = seen(&header->soft_epoch) > born;
    int64_t before_ns = *stale_from_ns;
    if (ask_soft) soften(&header->all_soft, born, stale_from_ns);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = __atomic_load_n(&tags[i], __ATOMIC_RELAXED) & (header->tags - 1);
        if (seen(&shm->tags[slot]) > born) return JUDGED_PURGED;
        if (ask_soft) soften(soft_of(shm, slot), born, stale_from_ns);
    }
    if (seen(&header->rule_epoch) > born && judge_by_rules(shm, born, key, key_len, stale_from_ns))
        return JUDGED_PURGED;
    return *stale_from_ns < before_ns ? JUDGED_STALE : JUDGED_VALID;
}

bool purge_refuses(const struct shm *shm, uint64_t born, uint64_t hash_lo, uint64_t hash_hi, int64_t *stale_from_ns) {
    uint32_t slot = purge_key_slot(shm, hash_lo, hash_hi);
    if (purge_generation(shm) <= born) return false;
    soften(soft_of(shm, slot), born, stale_from_ns);
    return seen(&shm->tags[slot]) > born || seen(&shm->header->retired_epoch) > born;
}

/* --- directories ---------------------------------------------------------------------------------------------- */

/* Whether the '/' at `at` ends a directory. Says the same of a key and of any prefix of it that is longer than `at`. */
static bool ends_level(const uint8_t *key, size_t at) {
    return key[at] == '/' && at && key[at - 1] != '/' && key[at - 1] != ':';
}

static uint32_t level_slot(const struct shm *shm, const uint8_t *key, size_t len) {
    uint64_t hash = XXH3_64bits_withSeed(key, len, shm->header->seed ^ 0x646972ull);
    return (uint32_t)hash & (shm->header->tags - 1);
}

uint32_t purge_levels(const struct shm *shm, const uint8_t *key, size_t len, uint32_t *slots) {
    uint32_t count = 0;
    for (size_t at = 0; at < len && key[at] != '?' && count < SHM_LEVELS; at++)
        if (ends_level(key, at)) slots[count++] = level_slot(shm, key, at + 1);
    return count;
}

/* Whether a prefix is one of the directories its keys carry as tags. */
static bool is_level(const uint8_t *prefix, size_t len) {
    uint32_t levels = 0;
    if (!len || !ends_level(prefix, len - 1)) return false;
    for (size_t at = 0; at < len; at++) {
        if (prefix[at] == '?') return false;
        levels += ends_level(prefix, at);
    }
    return levels <= SHM_LEVELS;
}

/* --- rules ---------------------------------------------------------------------------------------------------- */

static bool enter_rules(struct shm *shm) {
    enum lock_answer answer = lock_take(&shm->header->rules_lock, WRITE_PATIENCE_NS);
    /* who died in here left a rule without epoch, which nobody reads, or one that is complete */
    if (answer == LOCK_ORPHANED) lock_mend(&shm->header->rules_lock);
    return answer != LOCK_BUSY;
}

/* The purge epoch since whose beginning the crawler has seen every entry. */
static uint64_t crawled_epoch(const struct shm *shm) {
    uint64_t oldest = UINT64_MAX;
    for (uint32_t i = 0; i < shm->header->stripes; i++) {
        uint64_t clean = seen(&shm->stripes[i].crawl_clean);
        if (clean < oldest) oldest = clean;
    }
    return oldest;
}

/* A rule to write, with epoch 0; NULL when all are still needed. */
static struct rule *free_rule(struct shm *shm) {
    uint64_t crawled = 0;
    for (struct rule *rule = shm->rules; rule < shm->rules + SHM_RULES; rule++) {
        uint64_t epoch = seen(&rule->epoch);
        if (epoch && !crawled) crawled = crawled_epoch(shm);
        if (epoch > crawled) continue;
        if (epoch) raise_to(&shm->header->retired_epoch, epoch);
        atomic_store(&rule->epoch, 0);
        atomic_thread_fence(memory_order_seq_cst); /* who reads the rule sees it end before its bytes change */
        FP();
        return rule;
    }
    return NULL;
}

static uint64_t add_rule(struct shm *shm, struct rule *rule, const uint8_t *prefix, size_t len, int64_t soft_ns) {
    shared_copy(rule->bytes, prefix, len);
    STORE(rule->len, (uint32_t)len);
    STORE(rule->soft_ns, soft_ns);
    FP();
    struct purge purge = {.rule = rule};
    return carry_out(shm, &purge);
}

static void sweep_entry_locked(struct shm *shm, uint32_t index, const uint8_t *prefix, size_t len, int64_t soft_ns) {
    struct entry *entry = entry_at(shm, index);
    if (ctl_state(atomic_load(&entry->ctl)) != STATE_LIVE) return;
    const struct head *head = chunk_at(shm, entry->head);
    if (head->key_len < len || memcmp((const uint8_t *)head + head_key_at(head->tags), prefix, len) != 0) return;
    if (!soft_ns) entry_retire_locked(shm, index);
    else if (soft_ns < atomic_load(&entry->stale_from_ns)) atomic_store(&entry->stale_from_ns, soft_ns);
}

/* Look at every entry. Fetches under way are all refused, since their keys cannot be seen. */
static uint64_t sweep(struct shm *shm, const uint8_t *prefix, size_t len, int64_t soft_ns) {
    struct purge purge = {.hard = &shm->header->retired_epoch, .of_key = true};
    uint64_t epoch = carry_out(shm, &purge);
    uint32_t per_stripe = shm->header->per_stripe;
    segment_count(shm, CORE_PREFIX_SWEEPS, 1);
    for (uint32_t stripe = 0; stripe < shm->header->stripes; stripe++) {
        if (!stripe_enter(shm, stripe, SWEEP_PATIENCE_NS)) return 0;
        for (uint32_t index = stripe * per_stripe; index < (stripe + 1) * per_stripe; index++)
            sweep_entry_locked(shm, index, prefix, len, soft_ns);
        stripe_leave(shm, stripe);
    }
    return epoch;
}

uint64_t purge_prefix(struct shm *shm, const uint8_t *prefix, size_t len, int64_t soft_ns) {
    if (!len) return purge_everything(shm, soft_ns);
    if (is_level(prefix, len)) return purge_tag(shm, level_slot(shm, prefix, len), soft_ns);
    uint64_t epoch = 0;
    if (len <= SHM_RULE_BYTES) {
        if (!enter_rules(shm)) return 0;
        struct rule *rule = free_rule(shm);
        if (rule) epoch = add_rule(shm, rule, prefix, len, soft_ns);
        lock_drop(&shm->header->rules_lock);
    }
    return epoch ? epoch : sweep(shm, prefix, len, soft_ns);
}
