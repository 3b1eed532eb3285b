/* The scoreboard's table. The reasoning is in score.h. */
#include "score.h"

#include <string.h>

#include "lock.h"

/* Whether the cell is the key's, perhaps because it was free and is claimed now. */
static bool is_ours(struct score *score, uint64_t hash)
{
    uint64_t seen = __atomic_load_n(&score->hash, __ATOMIC_ACQUIRE);

    FP();
    if (seen == 0 && __atomic_compare_exchange_n(&score->hash, &seen, hash, false, __ATOMIC_ACQ_REL,
                                                 __ATOMIC_ACQUIRE))
        return true;
    return seen == hash; /* a failed exchange has put there what stood in its way */
}

size_t score_region_bytes(size_t cells)
{
    return cells * sizeof(struct score);
}

void score_init(void *region, size_t cells)
{
    memset(region, 0, score_region_bytes(cells));
}

struct score *score_claim(void *region, size_t cells, uint64_t hash)
{
    struct score *scores = region;

    hash += hash == 0; /* 0 marks a free cell */
    for (size_t step = 0; step < cells; step++) {
        struct score *score = scores + ((hash + step) & (cells - 1));
        if (is_ours(score, hash))
            return score;
    }
    return NULL;
}
